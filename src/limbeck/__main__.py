"""`python -m limbeck`, for where the script is not on the path."""

from limbeck.cli import main

if __name__ == "__main__":
    main()
