"""A figure for the table that run.sh prints."""


def row(what, figure, unit, op="-", bar=0, yardstick=""):
    """op: "<=", ">=", or "-" where there is no bar. The yardstick is free text of the same run."""
    print("row", what, f"{figure:.4g}", unit, op, f"{bar:.4g}", yardstick, sep="\t", flush=True)
