"""`python -m ludus.cli`, which `torchrun` starts."""

from ludus.cli import main

if __name__ == "__main__":
    main()
