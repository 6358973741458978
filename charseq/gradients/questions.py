"""The questions of the worked sheets by name: what is asked, its formulas, and the answer in words.

A question claims the quantities that answer it, so that :mod:`charseq.gradients.report` can show
the numbers below the derivation. Formulas are Unicode for a terminal; the page docs/sheets.md has
the same in TeX. ``forward`` and ``not asked`` are no questions of a sheet: they hold what a sheet
gives and what else is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

FORWARD, NOT_ASKED = "forward", "not asked"


@dataclass(frozen=True)
class Question:
    """One question of a sheet."""

    sheet: str
    name: str
    """As on the sheet: ``Question 1``, ``3.1``, ``Exercise 1 (a) 4``; FORWARD or NOT_ASKED."""
    asked: str
    formulas: tuple[str, ...] = ()
    answer: str = ""
    quantities: tuple[str, ...] = ()
    """Patterns of the quantities (``fnmatch``), of which the first question that fits has one."""

    @property
    def title(self) -> str:
        """The name with its kind: ``Question 3.1``, ``Task 1``, ``Exercise 2``."""
        return (
            f"{self.name[0].upper()}{self.name[1:]}"
            if self.name[0].isalpha()
            else f"Question {self.name}"
        )


A = (
    Question(
        "A", FORWARD, "what the sheet gives",
        (
            "a_t = W_xh x_t + W_hh h_{t-1} + b_h      h_t = tanh(a_t)",
            "o_t = W_hz h_t + b_z                     z_t = softmax(o_t)",
            "E_t = -Σ_k y_{t,k} log z_{t,k}           E = Σ_t E_t",
        ),
        quantities=("E_*", "E"),
    ),
    Question(
        "A", "Question 1", "∂E/∂W_hz and ∂E/∂W_hh",
        (
            "∂E/∂o_t  = z_t Σ_k y_{t,k} - y_t, which is z_t - y_t for a one-hot y_t",
            "∂E/∂h_t  = W_hz^T ∂E/∂o_t + W_hh^T ((1 - h_{t+1}⊙h_{t+1}) ⊙ ∂E/∂h_{t+1})",
            "∂E/∂W_hz = Σ_t ∂E/∂o_t h_t^T",
            "∂E/∂W_hh = Σ_t ((1 - h_t⊙h_t) ⊙ ∂E/∂h_t) h_{t-1}^T = Σ_t ∂E/∂W_hh(t)",
        ),
        "E depends on W_hz at every step once, hence one sum. It depends on W_hh at step t through "
        "all later states, hence ∂E/∂h_t, which collects them from the last step to the first.",
        ("∂E/∂o_*", "∂E/∂h_*", "∂E/∂W_hz", "∂E/∂W_hh*"),
    ),
    Question(
        "A", "Question 2", "why gradients vanish with tanh",
        ("∂h_T/∂h_k = Π_{t=T..k+1} diag(1 - h_t⊙h_t) W_hh",),
        "The error reaches step k through one factor for each step between. tanh' = 1 - tanh² lies "
        "in (0, 1], and is 1 only at 0, so unless W_hh makes up for it every factor shrinks the "
        "error, the product shrinks like a power of the distance, and early inputs stop receiving "
        "gradient. Numbers over 500 steps: charseq gradients --flow --cell tanh",
    ),
    Question(
        "A", NOT_ASKED, "the other weights",
        (
            "∂E/∂W_xh: x_t^T in place of h_{t-1}^T     ∂E/∂b_h: without it",
            "∂E/∂b_z = Σ_t ∂E/∂o_t",
        ),
        quantities=("∂E/∂W_xh", "∂E/∂b_*"),
    ),
)  # fmt: skip

B = (
    Question(
        "B1", "1a", "the sizes of W_embed and W_unembed; what a column of W_embed is",
        ("h = W_embed x     s = W_unembed h     p = softmax(s)     J = log p(y|s), maximised",),
        "N words and M hidden units: W_embed is M×N and W_unembed is N×M. x is one-hot, so "
        "W_embed x picks one column: column i of W_embed is the embedding of word i.",
        ("J",),
    ),
    Question(
        "B1", "1b", "∂J/∂s, ∂J/∂h, ∂J/∂W_unembed, ∂J/∂W_embed",
        (
            "∂J/∂s = y - p, the error          ∂J/∂W_unembed = ∂J/∂s h^T",
            "∂J/∂h = W_unembed^T ∂J/∂s         ∂J/∂W_embed   = ∂J/∂h x^T",
        ),
        "∂J/∂h x^T is zero in every column but that of the word that was read: only its embedding "
        "is learnt from this example. J is maximised, so signs are opposite to those of sheet A.",
        ("∂J/*",),
    ),
    Question(
        "B2", "2", 'the figure: the RNN on "I love machine"',
        (
            "h_0 = 0     g_t = W_e x_t + W_r h_{t-1}     h_t = tanh(g_t)     t = 1, 2, 3",
            "s = W_u h_3     p = softmax(s)     J = log p(y|s)     the next word x_4 ~ p",
        ),
        "Only the last state is read out, and it has to hold all words before.",
        ("J",),
    ),
    Question(
        "B2", "2b", "∂J/∂s, ∂J/∂W_u, ∂J/∂h_3 to ∂J/∂h_0, dJ/dW_r, dJ/dW_e",
        (
            "∂J/∂s       = y - p               ∂J/∂W_u = ∂J/∂s h_3^T",
            "∂J/∂h_3     = W_u^T (y - p)       ∂J/∂h_{t-1} = W_r^T diag(1 - tanh² g_t) ∂J/∂h_t",
            "dJ/dW_r     = Σ_{t=1..3} diag(1 - tanh² g_t) ∂J/∂h_t h_{t-1}^T",
            "dJ/dW_e     = Σ_{t=1..3} diag(1 - tanh² g_t) ∂J/∂h_t x_t^T",
        ),
        "dJ/dW is the total derivative: W acts at every step, and its three terms are added. The "
        "term of t = 1 in dJ/dW_r is zero, since h_0 is.",
        ("∂J/*",),
    ),
    Question(
        "B3", "3.1", "∂J/∂h_1 of the plain and of the residual recurrence; why the later one first",
        (
            "plain:    h_t = tanh(g_t)           ∂J/∂h_{t-1} = W_r^T diag(1 - tanh² g_t) ∂J/∂h_t",
            "residual: h_t = tanh(g_t) + h_{t-1}",
            "          ∂J/∂h_{t-1} = [W_r^T diag(1 - tanh² g_t) + I] ∂J/∂h_t",
        ),
        "h_1 acts on J only through h_2, and h_2 only through h_3. So ∂J/∂h_1 contains ∂J/∂h_2, "
        "which contains ∂J/∂h_3: each needs the later one first, hence back-propagation goes "
        "backwards. In the residual recurrence h_t is not tanh(g_t), so the factor is "
        "1 - tanh² g_t, never 1 - h_t⊙h_t.",
        ("J", "∂J/∂s", "∂J/∂h_*"),
    ),
    Question(
        "B3", "3.2", "why the residual recurrence alleviates vanishing gradients",
        (
            "plain     ∂J/∂h_1 = Π_{t=2..3} [W_r^T diag(1 - tanh² g_t)] ∂J/∂h_3",
            "residual  ∂J/∂h_1 = Π_{t=2..3} [W_r^T diag(1 - tanh² g_t) + I] ∂J/∂h_3",
        ),
        "Multiplied out, the residual product has the term I·I = I, however small the others are: "
        "where tanh saturates, ∂J/∂h_1 is still ∂J/∂h_3, while the plain product is zero.",
        (),
    ),
    Question(
        "B3", NOT_ASKED, "the weights of the residual RNN",
        ("∂J/∂W_r, ∂J/∂W_e: the sums of 2b with the residual ∂J/∂h_t     ∂J/∂W_u = ∂J/∂s h_3^T",),
        quantities=("∂J/∂W_*",),
    ),
)  # fmt: skip

C = (
    Question(
        "C", "Task 1", "the shapes of all quantities",
        ("a_t = W_x x_t + W_H h_{t-1}     h_t = tanh(a_t)     ŷ_t = softmax(W_y h_t)",),
        "A matrix has a row for each entry of what it makes and a column for each entry of what it "
        "reads. 5 words, embedding 15, hidden 7, vocabulary 10. All words share the weights.",
        ("shape of *",),
    ),
    Question(
        "C", "Task 2", "the total derivative of the loss with respect to W_H as a double sum",
        (
            "L_t = -Σ_k y_{t,k} log ŷ_{t,k}     L = Σ_t L_t     ∂L_t/∂h_t = (ŷ_t - y_t)^T W_y",
            "∂h_t/∂h_k  = Π_{j=t..k+1} diag(1 - h_j⊙h_j) W_H",
            "∂⁺h_k/∂W_H = the immediate derivative, in which h_{k-1} is held fixed",
            "∂L/∂W_H    = Σ_t Σ_{k=1..t} ∂L_t/∂h_t · ∂h_t/∂h_k · ∂⁺h_k/∂W_H",
        ),
        "The outer sum is over the losses, the inner one over the steps at which W_H acted. The "
        "sheet lets the inner sum end at k ≤ n; it ends at k ≤ t, since a loss does not depend on "
        "later steps. As ∂h_t/∂h_k is zero for k > t, the value is the same, but the formula "
        "with Π is not defined there.",
        ("L_*", "L", "∂L_*/*", "∂L/*"),
    ),
)  # fmt: skip

D = (
    Question(
        "D", "1) 1", "h_1, h_2, ŷ_1, ŷ_2",
        ("a_t = w_x x_t + w_h h_{t-1}     h_t = a_t, or σ(a_t) with --activation", "ŷ_t = w_y h_t"),
        quantities=("h_*", "ŷ_*"),
    ),
    Question("D", "1) 2", "L", ("L_t = (ŷ_t - y_t)²     L = Σ_t L_t",), quantities=("L_*", "L")),
    Question(
        "D", "1) 3", "∂L/∂h_1",
        (
            "∂L/∂ŷ_t = 2 (ŷ_t - y_t)",
            "∂L/∂h_t = w_y ∂L/∂ŷ_t + w_h σ'(a_{t+1}) ∂L/∂h_{t+1}, at the last step the first term",
            "σ' = 1 without an activation",
        ),
        quantities=("∂L/∂ŷ_*", "∂L/∂h_*"),
    ),
    Question(
        "D", "1) 4", "∂L/∂w_h", ("∂L/∂w_h = Σ_t ∂L/∂h_t σ'(a_t) h_{t-1}",), quantities=("∂L/∂w_h",)
    ),
    Question(
        "D", NOT_ASKED, "the other weights",
        ("∂L/∂w_x = Σ_t ∂L/∂h_t σ'(a_t) x_t     ∂L/∂w_y = Σ_t ∂L/∂ŷ_t h_t",),
        quantities=("∂L/∂w_x", "∂L/∂w_y"),
    ),
    Question(
        "D", "[2]", "the effect of the first input on the last output, over n steps",
        ("∂h_n/∂h_0 = Π_{t=n..1} w_h σ'(a_t)",),
        "With tanh each factor is at most |w_h|, and below it as soon as a_t is not 0, so the "
        "product of n factors goes to zero and the first input has no effect on the last output: "
        "a short memory. The sheet says that a weight drawn from a unit Gaussian is below 1; its "
        "size is below 1 in two draws of three (68 %). See --x 10,10,10,10 --activation tanh",
        ("∂h_*/∂h_0",),
    ),
    Question(
        "D", "[3]", "when full BPTT is wanted, and when truncated BPTT",
        ("∂L/∂w_h ≈ Σ_t Σ_{k=t-n+1..t} ∂L_t/∂w_h(k)     truncated to n steps",),
        "Full BPTT over long sequences is wanted where an output depends on an input many steps "
        "before: agreement over a clause, an opening bracket, the first symbol of the memory "
        "experiment in docs/sheets.md. Truncated BPTT is wanted where what matters lies a few "
        "steps back, where the sequence has no end (a stream of text), or where its states do not "
        "fit into memory; it keeps the terms near the diagonal of the table and leaves out the "
        "others, so a dependence over more than n steps gets no gradient.",
        ("∂L_t/∂w_h(k)",),
    ),
    Question(
        "D", "[4]", "the advantage and the cost of BPTT",
        ("∂L/∂w_h = Σ_k ∂L/∂w_h(k)     one weight, used at every step k",),
        "Advantage: all steps share one weight, and the errors of all steps add up in its "
        "gradient; so a sequence of any length needs no further parameters, and what is learnt at "
        "one position holds at all. Cost: one update needs all T steps forward and then backward, "
        "one after the other, and all T states in memory; the product of T factors vanishes or "
        "explodes. What avoids the vanishing: residual or gated cells (sheet B3, LSTM, GRU), "
        "attention.",
        (),
    ),
)  # fmt: skip

E = (
    Question(
        "E", "5 a", "why no feed-forward net from letter to letter", (),
        "Each output letter can depend on the whole input, and the two have different lengths: "
        "the first digit of 2021-03-03 stands at the end of 3. März 2021. A net that maps letter "
        "to letter sees one letter. Try it: charseq gradients --flow -m RUN TEXT shows which "
        "inputs each output depends on.",
    ),
    Question(
        "E", "5 b", "each letter as a one-hot vector", ("x_t ∈ {0, 1}^V     Σ_i x_{t,i} = 1",),
        "One-hot letters have no order and all the same distance. charseq/models/layers.py: encode "
        "makes one-hot rows of ids, decode is its inverse, and embed computes one-hot row times "
        "matrix by selecting a row, which is the same number without the zeros.",
    ),
    Question(
        "E", "5 c", "many to many", (),
        "Encoder-decoder: the whole input is read before the first letter is written, and writing "
        "ends with an end symbol, so the lengths may differ. charseq/models/seq2seq.py: "
        "EncoderDecoder.",
    ),
    Question(
        "E", "5 d", "batches of similar length, padding, or batch size 1", (),
        "Texts of similar length share a batch, and the rest is padded; padded places have weight "
        "0 in the loss and no attention. All three give the same result for a text. "
        "charseq/data/batches.py: buckets, pad; tests/models/test_seq2seq.py compares them.",
    ),
    Question(
        "E", "5 e", "encoding", (),
        "Letters -> ids: charseq/data/text/vocabulary.py: Vocabulary.encode. A letter that the "
        "training did not have becomes the unknown symbol.",
    ),
    Question(
        "E", "5 f", "the batch", (),
        "ids -> one array B×S with its lengths, and B×T inputs and labels of the decoder: "
        "charseq/data/batches.py: Batch. The order is a function of seed and step.",
    ),
    Question(
        "E", "5 g", "the architecture, trained with BPTT",
        (
            "tanh      h_t = tanh(g_t)              g_t = W_x x_t + b + W_h h_{t-1}",
            "residual  h_t = tanh(g_t) + h_{t-1}",
            "gru       h_t = (1 - z)⊙n + z⊙h_{t-1}   r, z = σ(·)   n = tanh(p_n + r⊙W_n h_{t-1})",
            "lstm      c_t = f⊙c_{t-1} + i⊙tanh(·)     h_t = o⊙tanh(c_t)     i, f, o = σ(·)",
            "∂L/∂W_h = Σ_t ∂L/∂g_t h_{t-1}^T",
        ),
        "Bidirectional encoder, decoder with attention: charseq/models/seq2seq.py. The recurrences "
        "are trained with BPTT derived by hand: charseq/kernels/bptt.py, compared here with "
        "autograd.",
        ("L (*", "∂L/*"),
    ),
    Question(
        "E", "5 h", "decoding to letters", ("p_t = softmax(o_t)     id_t = argmax p_t",),
        "The output vector of each step becomes an id, by greedy or beam search "
        "(charseq/decoding/search.py), until the end symbol; ids become letters and are joined "
        "(charseq/data/text/vocabulary.py: Vocabulary.decode).",
    ),
)  # fmt: skip

F = (
    Question(
        "F", FORWARD, "what the sheet gives",
        (
            "a_t = W_xh x_t + W_hh h_{t-1} + b_h      h_t = σ(a_t)",
            "o_t = W_hy h_t + b_y                     y_t = σ(o_t)",
            "L_t = (t_t - y_t)²                       L = L_1 + L_2 + L_3",
        ),
        quantities=("L_*", "L"),
    ),
    Question("F", "Exercise 1 (a) 1", "∂L/∂y_3", ("∂L/∂y_3 = -2 (t_3 - y_3)",), "", ("∂L/∂y_3",)),
    Question(
        "F", "Exercise 1 (a) 2", "∂L/∂y_2", ("∂L/∂y_t = -2 (t_t - y_t), of its own loss alone",),
        quantities=("∂L/∂y_*",),
    ),
    Question(
        "F", "Exercise 1 (a) 3", "∂L_3/∂h_3", ("∂L_t/∂h_t = ∂L/∂y_t σ'(o_t) W_hy",),
        quantities=("∂L_*/∂h_*",),
    ),
    Question(
        "F", "Exercise 1 (a) 4", "∂h_t/∂h_{t-1}", ("∂h_t/∂h_{t-1} = diag(σ'(a_t)) W_hh",),
        quantities=("∂h_*/∂h_*",),
    ),
    Question(
        "F", "Exercise 1 (a) 5", "∂L/∂h_2",
        ("∂L/∂h_2 = ∂L_2/∂h_2 + ∂L_3/∂h_3 ∂h_3/∂h_2     ∂L/∂h_3 = ∂L_3/∂h_3",),
        quantities=("∂L/∂h_2", "∂L/∂h_3"),
    ),
    Question(
        "F", "Exercise 1 (a) 6", "∂L/∂h_1",
        ("∂L/∂h_1 = ∂L_1/∂h_1 + ∂L_2/∂h_2 ∂h_2/∂h_1 + ∂L_3/∂h_3 ∂h_3/∂h_2 ∂h_2/∂h_1",),
        quantities=("∂L/∂h_*",),
    ),
    Question(
        "F", "Exercise 1 (b) 1", "∂h_t/∂W_xh",
        (
            "∂⁺h_t/∂W_xh = diag(σ'(a_t)) ∂a_t/∂W_xh",
            "∂a_{t,i}/∂W_{xh,jl} = x_{t,l} if i = j, else 0",
            "∂h_t/∂W_xh  = ∂⁺h_t/∂W_xh + ∂h_t/∂h_{t-1} ∂h_{t-1}/∂W_xh",
        ),
        "∂⁺, the immediate derivative, holds h_{t-1} fixed: it is the effect of W_xh at step t "
        "alone. The total derivative adds the effect through h_{t-1}. Both are H×H×I.",
        ("∂*h_*/∂W_xh",),
    ),
    Question(
        "F", "Exercise 1 (b) 2", "∂h_t/∂W_hh",
        (
            "∂⁺h_t/∂W_hh: h_{t-1} in place of x_t, and held fixed",
            "∂h_t/∂W_hh  = ∂⁺h_t/∂W_hh + ∂h_t/∂h_{t-1} ∂h_{t-1}/∂W_hh",
            "            = Σ_{k≤t} ∂h_t/∂h_k ∂⁺h_k/∂W_hh",
        ),
        "", ("∂*h_*/∂W_hh",),
    ),
    Question(
        "F", "Exercise 1 (b) 3", "∂L/∂W_xh",
        ("∂L/∂W_xh = Σ_t ∂L_t/∂h_t Σ_{k≤t} ∂h_t/∂h_k ∂⁺h_k/∂W_xh = Σ_t ∂L_t/∂h_t ∂h_t/∂W_xh",),
        quantities=("∂L/∂W_xh",),
    ),
    Question(
        "F", "Exercise 1 (b) 4", "∂L/∂W_hh",
        ("∂L/∂W_hh = Σ_t ∂L_t/∂h_t Σ_{k≤t} ∂h_t/∂h_k ∂⁺h_k/∂W_hh",),
        "The terms of k = 1 hold h_0. They are zero only if h_0 is.",
        ("∂L/∂W_hh",),
    ),
    Question(
        "F", NOT_ASKED, "the other weights",
        (
            "∂L/∂W_hy = Σ_t (∂L/∂y_t ⊙ σ'(o_t)) h_t^T     ∂L/∂b_y: without h_t^T",
            "∂L/∂b_h  = Σ_t ∂L/∂h_t ⊙ σ'(a_t)",
        ),
        quantities=("∂L/∂W_hy", "∂L/∂b_*"),
    ),
    Question(
        "F", "Exercise 2", "a very small and a very large W_hh over long sequences",
        ("∂h_T/∂h_k = Π_{t=T..k+1} diag(σ'(a_t)) W_hh     0 < σ' = σ (1 - σ) ≤ 1/4",),
        "W_hh is a factor of every step. A small one drives the product to zero, a large one blows "
        "it up. With σ small begins at 4: since σ' ≤ 1/4, the norm of a factor is at most "
        "‖W_hh‖/4. A large one also drives a_t to where σ is flat, so a scale above 4 is "
        "necessary to explode, and not sufficient. Numbers: "
        "charseq gradients --flow --cell sigmoid --scale 1 --scale 4 --scale 20",
    ),
    Question(
        "F", "Exercise 3", "programming", (),
        "charseq/gradients/derivations.py in NumPy, by hand; charseq/gradients/autograd.py in "
        "torch; docs/sheets.ipynb as a notebook in which every number can be changed.",
    ),
)  # fmt: skip

QUESTIONS = (*A, *B, *C, *D, *E, *F)


def of_sheet(sheet: str) -> Iterator[Question]:
    """The questions of a sheet, in its order."""
    return (one for one in QUESTIONS if one.sheet == sheet)


def question_of(sheet: str, quantity: str) -> Question:
    """The question that a quantity answers.

    Raises:
        KeyError: no question of the sheet claims the quantity.
    """
    for one in of_sheet(sheet):
        if any(fnmatchcase(quantity, pattern) for pattern in one.quantities):
            return one
    raise KeyError(f"sheet {sheet} has no question about {quantity}")
