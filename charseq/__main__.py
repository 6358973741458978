"""``python -m charseq`` -> the command ``charseq``."""

from charseq.cli.main import main

if __name__ == "__main__":
    main()
