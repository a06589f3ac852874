"""`python -m gaiaops`."""

from gaiaops.cli.main import main

if __name__ == "__main__":
    main()
