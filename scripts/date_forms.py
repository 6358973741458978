"""A date -> strings with more or less than a day: times, programs, names of files, months, years.

The words beside dates are in date_words.toml. Every function gives the string as pieces of
``date_writing`` or as text, and what it means is decided by its caller.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from random import Random

from babel import Locale
from babel.dates import get_period_names
from date_writing import month_name

WORDS = Path(__file__).with_name("date_words.toml")

SPELLED = ("am pm", "AM PM", "a.m. p.m.", "A.M. P.M.", "a. m. p. m.", "Am Pm", "a p", "am. pm.")
ZONES = (
    "Z", "Z", "UTC", "UTC", "GMT", "GMT", "+01:00", "+02:00", "-05:00", "+0100", "+0000", "-0700",
    "+05:30", "+0530", "+00:00", "-08:00", "+09:00", "+01", "-03", "EST", "EDT", "CST", "CDT",
    "MST",
    "MDT", "PST", "PDT", "CET", "CEST", "BST", "IST", "JST", "KST", "MSK", "AEST", "AEDT", "EET",
    "EEST", "WET", "WEST", "HST", "AKST", "NZST", "NZDT", "SAST", "HKT", "SGT", "WIB", "PKT", "ART",
    "BRT", "MEZ", "MESZ", "ET", "PT", "CT", "GMT+2", "GMT-3", "GMT+1", "UTC+1", "UTC-5",
    "UTC+01:00",
    "UTC+5:30", "GMT+0100", "GMT-0700", "(UTC)", "(GMT)", "(EST)", "(CET)", "(PDT)", "(local time)",
    "(Pacific Standard Time)", "(Eastern Daylight Time)", "(Central European Time)", "UTC+0200",
    "(Coordinated Universal Time)", "GMT+0000 (UTC)", "-0500 (EST)", "+0200 (CEST)", "Eastern Time",
    "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Etc/UTC", "local time",
    "-0800 (PST)", "+0900 (JST)", "GMT+01:00", "Eastern Standard Time", "PM GMT",
)  # fmt: skip
ENGLISH_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TECHNICAL: Mapping[str, float] = {
    "{E}, {dd} {b} {y} {T} {z}": 3, "{E}, {d} {b} {y} {T} {z}": 2, "{E}, {dd} {b} {yy} {T} {z}": 1,
    "{dd} {b} {y} {T} {z}": 1, "{E}, {dd} {b} {y} {T} GMT": 2, "{EEEE}, {dd}-{b}-{yy} {T} GMT": 2,
    "{E}, {dd}-{b}-{y} {T} GMT": 1, "{E} {b} {_d} {T} {y}": 3, "{E} {b} {_d} {T} {Z} {y}": 3,
    "{E} {b} {dd} {T} {y}": 2, "{E} {b} {dd} {T} {z} {y}": 2, "{E} {b} {d} {T} {y} {z}": 2,
    "{E} {b} {dd} {y} {T} GMT{z}": 1, "{E} {b} {dd} {y} {T} GMT{z} ({zone})": 2,
    "{E} {b} {dd} {y}": 2, "{b} {_d} {y} {T}": 2, "{b} {dd} {T} {y}": 1.5, "{y} {b} {_d} {T}": 1,
    "[{dd}/{b}/{y}:{T} {z}]": 2, "{dd}/{b}/{y}:{T} {z}": 2, "{dd}/{b}/{y}:{T}": 1,
    "{dd}{B}{y}:{T}": 1, "{dd}-{B}-{yy} {T.}": 0.7, "{iso}T{T}Z": 3, "{iso}T{T}": 2,
    "{iso}T{T}.{ms}Z": 3, "{iso}T{T}{z:}": 3, "{iso}T{T}.{us}{z:}": 2, "{iso}T{t}": 1,
    "{iso}T{t}Z": 1, "{iso}T{T},{ms}": 0.5, "{iso} {T}": 3, "{iso} {T}.{ms}": 2,
    "{iso} {T},{ms}": 2, "{iso} {T} {z}": 2, "{iso} {T}{z:}": 1.5, "{iso} {T}.{us}": 1.5,
    "{iso} {t}": 2, "{iso}t{T}z": 0.5, "[{iso} {T}]": 1, "[{iso}T{T}.{ms}Z]": 0.6,
    "{iso} {T} UTC": 1.5, "{iso}T{TT}Z": 0.5, "{c}T{TT}Z": 2.5, "{c}T{TT}": 2, "{c}T{tt}": 1,
    "{c}{TT}": 2, "{c}-{TT}": 1, "{c}_{TT}": 1, "{c} {T}": 1, "{c} {TT}": 0.6, "{c}T{TT}{z}": 0.7,
    "{y}:{mm}:{dd} {T}": 1.5, "{y}/{mm}/{dd} {T}": 2, "{y}.{mm}.{dd} {T}": 1, "{iso}_{T-}": 1,
    "{iso}-{T-}": 0.5, "{iso} {T.}": 0.6, "{y}/{mm}/{dd} {t}": 1.5, "{y}/{m}/{d} {T}": 1,
    "{m}/{d}/{y} {T} {A}": 1.5, "{mm}/{dd}/{y} {T}": 2, "{mm}/{dd}/{yy} {t}": 1,
    "{m}/{d}/{yy} {t} {A}": 1, "{dd}.{mm}.{y} {T}": 2, "{dd}.{mm}.{y} {t}": 2,
    "{dd}.{mm}.{yy} {t}": 1, "{dd}-{mm}-{y} {T}": 1.5, "{iso}Z": 0.5, "{iso}{z:}": 0.4,
    "{y}-{b}-{dd} {T}": 1, "{dd}-{b}-{y} {T}": 2, "{dd} {b} {y} {T}": 2, "{dd} {b} {y}, {t}": 2,
    "{b} {d}, {y} {T} {A}": 2, "{b} {d}, {y}, {t} {A} {Z}": 1.5, "{E} {d} {b} {y} {T} {Z}": 1.5,
    "{E} {d} {b} {t} {Z} {y}": 0.7, "{E}, {b} {d}, {y} {t} {A}": 1.5, "D:{c}{TT}": 0.5,
    "{T} {iso}": 1, "{t} {dd}/{mm}/{y}": 1, "{T} {dd}.{mm}.{y}": 1, "{T} {d} {b} {y}": 1,
    "{t} {A}, {b} {d}, {y}": 1, "{E} {iso} {t}": 1, "{E} {dd}/{mm}/{y} {t}": 0.7,
    "{EEEE} {d} {b} {y} {t}": 0.8, "{iso} ({E})": 1, "{iso} {EEEE}": 0.8, "{iso}T{hh}": 0.5,
    "{iso}T{hh}Z": 0.4, "{iso}T{T}{z2}": 0.6, "{c}T{TT}.{ms}Z": 0.5, "{c}T{hh}": 0.3,
    "{dd} {B} {y} {tt}": 0.5, "{dd}{B}{yy}": 1, "{dd}{B}{y}": 1, "{B}{dd}{yy}": 0.2,
    "{dd} {B} {yy}": 0.7, "{dd} {B} {y}": 0.7, "{dd} {B}/{O} {y}": 0.7, "{dd} {B}/{O} {yy}": 0.7,
    "{dd} {B} / {O} {y}": 0.4, "{dd} {O}/{B} {y}": 0.4, "{b}  {d} {T} {y} {Z}": 0.7,
    "{dd}{B}{y} {t}": 0.7, "{dd}{B}{yy} {t}": 0.5, "{iso} {tt}": 0.4, "{mm}/{dd}/{y} {tt}": 0.4,
}  # fmt: skip
# Names of files and fields with a day: w is a word, p the word that cameras and programs put in
# front, n a number, x the ending of a file.
NAMED: Mapping[str, float] = {
    "{p}_{c}_{TT}.{x}": 3, "{p}_{c}_{TT}{ms}.{x}": 1, "{p}{c}_{TT}.{x}": 1, "{p}-{c}-{TT}.{x}": 1,
    "{p}_{c}{TT}.{x}": 1, "{p}_{c}{TT}_{n4}.{x}": 0.8, "{p}_{c}.{x}": 1.5, "{p}-{c}.{x}": 1,
    "{p}-{c}-{w}{n4}.{x}": 0.8, "{c}_{TT}.{x}": 1, "{c}{TT}.{x}": 0.5, "{c}_{w}.{x}": 1.5,
    "{c}-{w}.{x}": 1, "{w}_{c}.{x}.{x}": 1, "{w}.{c}.{x}": 0.7, "{c}.{x}": 0.7, "{w}_{c}": 1.5,
    "{w}-{c}": 1, "{c}_{w}": 1, "{w}{c}": 0.5, "{w}_{c}_{tt}": 0.8, "{w}{c}{TT}": 0.4,
    "{iso}.{x}": 0.7, "{iso}_{w}.{x}": 1.5, "{iso} {w}.{x}": 1, "{w}_{iso}.{x}": 1.5,
    "{w}-{iso}.{x}": 1.5, "{w}-{iso}.{n}.{x}": 0.6, "{w}.{iso}": 0.8, "{w}.{x}.{iso}": 0.8,
    "{w}_{iso}_{TT}.{x}": 0.8, "{w} {iso} {T.}.{x}": 1, "{p} {iso} at {T.}.{x}": 1,
    "{p}_{iso}-{T-}.{x}": 0.8, "{p}_{iso}_{T-}.{x}": 0.8, "{p} {iso} ({n}).{x}": 0.8,
    "{w}_{yc}.{x}": 1, "{w}{yc}.{x}": 0.8, "{w}-{yc}": 0.8, "{yc}_{w}": 0.8, "{yc}_{TT}": 0.5,
    "{w}_{yc}_{w}": 0.6, "{w}_{dd}-{mm}-{y}.{x}": 1, "{w}_{dd}.{mm}.{y}.{x}": 1,
    "{w} {dd}.{mm}.{y}.{x}": 1, "{dd}.{mm}.{y}_{w}.{x}": 0.7, "{w} {dd}-{mm}-{y} {n}.{x}": 0.6,
    "{w}_{y}_{mm}_{dd}.{x}": 1, "{y}_{mm}_{dd}_{w}.{x}": 0.8, "{w} {d} {b} {y}.{x}": 1,
    "{w} ({d} {b} {y}).{x}": 0.7, "{w} - {d} {b} {y} - {n}.{x}": 0.7,
    "{p}{n4} {d} {b} {y}.{x}": 0.5, "{w}_{dd}{b}{y}.{x}": 0.6, "{y}/{mm}/{dd}/{w}.{x}": 0.6,
    "{w}/{y}/{mm}/{dd}": 0.6, "{w}={iso}": 1.2, "{w}={iso}T{T}": 0.8, "{w}={iso}T{T}.{ms}{z}": 0.6,
    "{w}={c}": 0.8, "{w}: {iso}T{T}Z": 0.6, "{w}={iso} {w}={T}": 0.7,
    "\"{w}\": \"{iso}T{T}Z\"": 0.7, "{{\"{w}\":\"{iso}\"}}": 0.7, "<{w1}>{iso}</{w1}>": 0.7,
    "{w}=\"{iso}\"": 0.6, "{w}={E}, {dd}-{b}-{y} {T} GMT": 0.7,
    "{w}={E}, {dd} {b} {y} {T} GMT": 0.6, "{w}={b} {_d} {T} {y} GMT": 0.9,
    "{w}: {E}, {d} {b} {y} {T} {z}": 0.7, "{w}; {E}, {d} {b} {y} {T} {z}": 0.6, "{w}@{iso}": 0.4,
    "{w}-{c}.{n}": 0.5, "{w}-{c}T{TT}Z": 0.6, "{w}:{c}": 0.4, "{c}{TT}.{w}{n}@{w}": 0.5,
    "{w} {c}{TT}.{n4}.{w}": 0.6, "{w}{n} {iso}": 0.7, "{w} {n} {iso} {T}": 0.6,
    "{iso} {T} {w}[{n4}]": 0.7, "[{iso} {T}] {w}: {w}": 0.7, "{iso} {T} {W} {w}": 0.8,
    "{iso}T{T}Z {w} {w}": 0.6, "{b} {_d} {y} {T} {w}": 0.4, "{E} {b} {_d} {T} {y} {w}": 0.5,
    "[{E} {b} {dd} {T}.{us} {y}] [{w}:{w}]": 0.5, "{y}/{mm}/{dd} {T} [{w}] {n}": 0.5,
    "{dd}.{mm}.{y} {T} {w} {w}": 0.5, "{m}/{d}/{y} {T} {A} {w} {n}": 0.5,
    "{w} {n} {dd}.{mm}.{y} {t}": 0.5, "{w}{n4} {w} {iso}": 0.5, "{dd}/{b}/{y} {w}": 0.3,
    "{iso},{n},{w}": 0.4, "{c} {n4} {w}": 0.3, "{w}|{iso}|{n}": 0.4,
}  # fmt: skip
# The same with a month or a year alone.
NAMED_MONTHS = (
    "{w}-{y}-{mm}.{x}", "{w}_{y}-{mm}.{x}", "{w}_{y}_{mm}.{x}", "{y}-{mm}_{w}.{x}", "{y}-{mm} {w}",
    "{w} {y}-{mm}", "{w}-{y}-{mm}", "{y}-{mm}-{w}", "{w} {mm}/{y}", "{w}: {mm}/{y}", "{w} {m}/{y}",
    "{w} {mm}.{y}", "{w} {m}.{y}", "{w}={y}-{mm}", "{mm}/{y} {w}", "{w}, {m}/{y}", "{w}/{y}/{mm}",
    "{w} {b} {y}.{x}", "{w}_{b}{y}.{x}", "{w} {mm}-{y}", "{w}_{y}-{mm}_{n}.{x}", "{w} ({mm}/{y})",
    "{b}_{y}_{w}.{x}", "{w}_{b}_{y}.{x}", "{w}.{y}-{mm}.{x}",
)  # fmt: skip
NAMED_YEARS = (
    "{w}_{y}.{x}", "{w}-{y}.{x}", "{w} {y}.{x}", "{y}_{w}.{x}", "{y}-{w}.{x}", "{w}={y}",
    "{w}: {y}", "{w}_{y}", "{y} {w}.{x}", "{w} ({y}).{x}",
)  # fmt: skip
PREFIXES = (
    "IMG", "VID", "DSC", "PXL", "MVI", "MOV", "PIC", "Photo", "photo", "Scan", "SCAN", "scan",
    "Screenshot", "Screen Shot", "Bild", "foto", "Foto", "REC", "AUD", "video", "Video",
    "WhatsApp Image", "Image", "signal", "Bildschirmfoto", "Capture", "captura", "DOC", "doc",
    "Recording", "TRK", "Snapchat", "frame", "IMAGE", "PANO", "BURST", "CAM", "DRONE", "Clip",
)  # fmt: skip
ENDINGS = (
    "jpg", "jpg", "JPG", "png", "jpeg", "pdf", "pdf", "mp4", "txt", "csv", "log", "gz", "zip",
    "xlsx", "docx", "tif", "json", "xml", "sql", "bak", "heic", "gif", "mov", "wav", "html", "md",
    "tar", "db",
)  # fmt: skip
FIELDS = (
    "log", "access", "error", "backup", "report", "data", "export", "dump", "invoice", "statement",
    "minutes", "notes", "trip", "party", "holiday", "garden", "birthday", "concert", "meeting",
    "draft", "final", "sales", "orders", "users", "events", "app", "system", "server", "mail",
    "db", "archive", "release", "build", "nightly", "audit", "metrics", "usage", "traffic",
    "payroll", "budget", "plan", "agenda", "protokoll", "rechnung", "urlaub", "geburtstag",
    "facture", "voyage", "anniversaire", "informe", "viaje", "factura", "relatorio", "festa",
    "отчет", "отпуск", "заказы", "date", "time", "ts", "created", "modified", "updated", "start",
    "end", "since", "expires", "valid", "issued", "timestamp", "lastmod", "published", "due",
    "Date", "Modified", "Received", "Delivered", "Expires", "job", "task", "worker", "INFO",
    "sample", "batch", "lot", "patient", "visit", "scan", "rev", "version", "model", "train",
    "test", "wedding", "family", "beach", "mountain", "winter-trip", "dinner", "school",
    "football", "museum", "snow", "cat", "house", "bill",
)  # fmt: skip
COUNTED_FORMS = (
    "{wy}-W{wk}-{wd}", "{wy}W{wk}{wd}", "{wy}-W{wk}", "{wy}-W{wk}-{wd}T{T}Z", "{wy}W{wk}", "{o}",
    "{o}",
    "{o7}", "{o}T{T}Z", "{wy}-W{wk}-{wd} {t}", "{wy}, W{wk}",
)  # fmt: skip


@cache
def words() -> Mapping[str, Mapping[str, list[str]]]:
    """The templates of date_words.toml by language."""
    found: Mapping[str, Mapping[str, list[str]]] = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    return found


def template(locale: str, kind: str, rng: Random, *, own: float = 0.6) -> str:
    """A template of a kind in a language, or one that is written in all."""
    language = words().get(locale.split("_", maxsplit=1)[0], {}).get(kind, [])
    every = words()["every"].get(kind, [])
    if language and (not every or rng.random() < own):
        return rng.choice(language)
    return rng.choice(every) if every else "{date}"


def period(locale: str, hour: int, rng: Random) -> str:
    """Am or pm, as English and some others write it, or in the words of the language."""
    late = hour >= 12
    if locale not in ("und",) and not locale.startswith("en") and rng.random() < 0.5:
        names = get_period_names("wide", "format", locale)
        if "pm" in names:
            return str(names["pm" if late else "am"])
    spelled = rng.choice(SPELLED)
    half = len(spelled) // 2
    return spelled[half:].strip() if late else spelled[:half].strip()


def clock(form: str, locale: str, rng: Random) -> str:
    """A time of day for a slot of a template: 24, 24s, 24., 12, 12s."""
    hour, minute, second = rng.randrange(24), rng.randrange(60), rng.randrange(60)
    if rng.random() < 0.25:
        minute = rng.choice((0, 0, 30, 15, 45))
    long = form.endswith("s") or rng.random() < 0.08
    rest = f":{minute:02}" + (f":{second:02}" if long else "")
    if long and rng.random() < 0.15:
        rest += rng.choice(".,") + str(rng.randrange(10 ** rng.choice((1, 2, 3, 6))))
    if form.startswith("12"):
        shown = (hour + 11) % 12 + 1
        if not long and minute == 0 and rng.random() < 0.4:
            rest = ""
        text = f"{shown:02}" if rng.random() < 0.3 else str(shown)
        gap = rng.choice(("", " ", " ", " "))
        found = text + rest + gap + period(locale, hour, rng)
        return found.replace(":", ".") if rng.random() < 0.06 else found
    text = f"{hour:02}" if rng.random() < 0.8 else str(hour)
    dotted = form in ("24.", "24h")
    if not dotted and locale in ("fi", "da", "id", "it"):
        dotted = rng.random() < 0.2
    found = text + rest
    return found.replace(":", ".", 1) if dotted and not long else found


def timed(day: str, locale: str, rng: Random) -> str:
    """A date with a time of day beside it, and perhaps a zone."""
    form = template(locale, "times", rng)
    hour, minute = rng.randrange(24), rng.randrange(60)

    def fill(match: re.Match[str]) -> str:
        slot = match[1]
        if slot == "date":
            return "\0"
        if slot == "h":
            return f"{hour:02}" if rng.random() < 0.4 else str(hour)
        if slot in ("m", "s"):
            return f"{minute:02}"
        return clock(slot, locale, rng)

    text = re.sub(r"\{([^}]*)\}", fill, form)
    if rng.random() < 0.16 and not form.startswith("{12") and "date}" in form[:7]:
        zone = rng.choice(ZONES)
        text += ("" if zone[0] in "Z+-" and rng.random() < 0.6 else " ") + zone
    text = re.sub(r"\0(?=\d)", "\0 ", text) if day[-1:].isalnum() else text
    text = re.sub(r"(?<=\d)\0", " \0", text)
    return text.replace("\0", day)


def technical(when: date, rng: Random) -> str:
    """A date as programs write it: RFC 2822 and 850, ctime, logs, ISO 8601 with times and days."""
    form = rng.choices(list(TECHNICAL), list(TECHNICAL.values()))[0]
    return filled(form, when, rng)


def named(when: date, rng: Random, forms: Sequence[str] = ()) -> str:
    """A day, or by other ``forms`` a month or a year, in the name of a file or of a field."""
    form = rng.choice(forms) if forms else rng.choices(list(NAMED), list(NAMED.values()))[0]
    return filled(form, when, rng)


def counted(when: date, rng: Random) -> str:
    """A day by ISO's number of its week or of itself in the year."""
    return filled(rng.choice(COUNTED_FORMS), when, rng)


def filled(form: str, when: date, rng: Random) -> str:
    """A template of numbers and English names, filled in."""
    h, m, s = rng.randrange(24), rng.randrange(60), rng.randrange(60)
    sign, zone = rng.choice("+-"), f"{rng.randrange(13):02}"
    offset = rng.choice((zone + "00", zone + "00", zone + "30", "0000"))
    number = (when - date(when.year, 1, 1)).days + 1
    year, week, weekday = when.isocalendar()
    name = month_name("en_US", "MMMM", when.month)[:3]
    values: dict[str, object] = {
        "E": ENGLISH_DAYS[when.weekday()][:3], "EEEE": ENGLISH_DAYS[when.weekday()], "b": name,
        "B": name.upper(), "d": when.day, "_d": f"{when.day:2}", "dd": f"{when.day:02}",
        "m": when.month, "mm": f"{when.month:02}", "y": f"{when.year:04}",
        "yy": f"{when.year % 100:02}",
        "iso": when.isoformat(), "c": when.isoformat().replace("-", ""),
        "o": f"{when.year}-{number:03}",
        "o7": f"{when.year}{number:03}", "T": f"{h:02}:{m:02}:{s:02}", "t": f"{h:02}:{m:02}",
        "TT": f"{h:02}{m:02}{s:02}", "tt": f"{h:02}{m:02}", "T.": f"{h:02}.{m:02}.{s:02}",
        "T-": f"{h:02}-{m:02}-{s:02}", "ms": f"{rng.randrange(1000):03}",
        "us": f"{rng.randrange(10**6):06}",
        "z": sign + offset, "z:": f"{sign}{offset[:2]}:{offset[2:]}", "A": rng.choice(("AM", "PM",
        "am", "pm")),
        "Z": rng.choice(("UTC", "GMT", "EST", "PDT", "CET", "CEST", "BST", "MSK", "IST", "JST",
        "EDT", "CST")),
        "zone": rng.choice(("Central European Standard Time", "Pacific Daylight Time", "CET", "UTC",
        "EDT",
                            "Coordinated Universal Time", "India Standard Time",
                            "Mitteleuropäische Zeit")),
        "wy": year, "wk": f"{week:02}", "wd": weekday, "hh": f"{h:02}", "z2": sign + zone,
        "W": rng.choice(("INFO", "WARN", "ERROR", "DEBUG")),
        "yc": f"{when.year % 100:02}{when.month:02}{when.day:02}",
        "n": rng.randint(1, rng.choice((9, 99, 9999))),
        "n4": f"{rng.randint(0, 9999):04}", "p": rng.choice(PREFIXES), "x": rng.choice(ENDINGS),
        "O": foreign_short(when.month, rng), "w1": rng.choice(FIELDS),
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        return rng.choice(FIELDS) if match[1] == "w" else str(values[match[1]])

    return re.sub(r"\{([^{}]*)\}", fill, form).replace("{{", "{").replace("}}", "}")


def foreign_short(month: int, rng: Random) -> str:
    """The short month in capitals in a language of Europe, as passports have it beside English."""
    code = rng.choice(("fr", "fr", "es", "it", "de", "pl", "nl", "pt_BR", "ru", "tr", "ro", "sv"))
    return month_name(code, "LLL", month).upper()


# -- months and years ------------------------------------------------------------------------------

MONTHS = (
    "NNNN y", "NNNN y", "MMMM y", "MMM y", "LLL y", "NNNN, y", "LLL ''yy", "y NNNN", "LLL-y",
    "LLL. y", "LLL-yy", "LLL-yy", "LLL yy", "^LLL yy", "MMM y", "MMM. y", "NNNN 'de' y", "NNNN/y",
    "y-LLL", "^LLL y", "^NNNN y", "MMMM y",
)  # fmt: skip
NUMERIC_MONTHS = (
    "MM/y", "MM/y", "M/y", "y-MM", "y-MM", "y/MM", "MM.y", "MM-y", "y.MM", "M/y", "(MM/y)", "y-M",
)  # fmt: skip
COUNTED_MONTHS: Mapping[str, tuple[str, ...]] = {
    "ja": ("y年M月", "y年M月", "y年MM月", "y年 M月"),
    "zh": ("y年M月", "y年M月", "y年MM月", "y年M月份"),
    "zh_Hant": ("y年M月", "y年M月"), "ko": ("y년 M월", "y년 M월", "y년M월", "y. M."),
    "vi": ("'tháng' M 'năm' y", "'tháng' M/y", "'tháng' MM 'năm' y", "M/y"),
}  # fmt: skip


def month_pattern(locale: str, rng: Random) -> str:
    """A pattern of a month with its year: of the language, or numbers alone."""
    if locale == "und":
        return rng.choice(NUMERIC_MONTHS)
    if locale in COUNTED_MONTHS:
        return rng.choice(COUNTED_MONTHS[locale])
    if rng.random() < 0.3:
        known = Locale.parse(locale).datetime_skeletons.get(rng.choice(("yMMMM", "yMMM")))
        if known is not None:
            return re.sub("[\u00a0\u202f]", " ", known.pattern.replace("\u200f", ""))
    return rng.choice(MONTHS)


def year_form(locale: str, rng: Random) -> str:
    """A template of a year with the words of a column; some say that it is not certain."""
    suffixes = {"ja": "年", "zh": "年", "zh_Hant": "年", "ko": "년"}
    if locale in suffixes and rng.random() < 0.4:
        return "{date}" + suffixes[locale]
    return template(locale, "about" if rng.random() < 0.3 else "years", rng)
