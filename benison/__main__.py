"""The command `benison`, as `python -m benison`."""

from benison.pipelines.cli import main

if __name__ == "__main__":
    main()
