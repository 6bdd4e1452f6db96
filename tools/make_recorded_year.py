"""Make the recorded year that ships with maillage: `src/maillage/feeds/data/fr_2024.npz`.

    python tools/make_recorded_year.py fr_hourly_2022_2024.csv.gz [--out FILE] [--check]

The input is a table of UTC hours with the columns named in COLUMNS (see docs/data-licences.md for where
each comes from). Values are kept as recorded, as whole hundredths; a missing one stays missing (MISSING)
and is repaired when it is read. The same input gives the same bytes. `--check` writes nothing and
fails where the file would change.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv

YEAR = 2024
HOURS = 8784  # 2024 is a leap year
MISSING = np.iinfo(np.int32).min  # what maillage.feeds.recorded reads as "not recorded"
COLUMNS = {
    "ci_fr_gco2eq_kwh": "carbon_fr",
    "price_fr_eur_mwh": "price_fr",
    "tdb_paris": "outdoor_paris",
    "tdb_marseille": "outdoor_marseille",
    "tdb_strasbourg": "outdoor_strasbourg",
}
OUT = Path(__file__).parents[1] / "src" / "maillage" / "feeds" / "data" / f"fr_{YEAR}.npz"


def recorded_year(table_file: Path) -> dict[str, np.ndarray]:
    """The columns of YEAR as int32 hundredths, hour by hour from 1 January 00:00 UTC."""
    table = pyarrow.csv.read_csv(table_file)
    instants = table["time_utc"].to_numpy().astype("datetime64[h]")
    wanted = np.arange(f"{YEAR}-01-01T00", f"{YEAR + 1}-01-01T00", dtype="datetime64[h]")
    rows = np.flatnonzero(np.isin(instants, wanted))
    if len(wanted) != HOURS or not np.array_equal(instants[rows], wanted):
        raise SystemExit(f"{table_file}: {YEAR} must stand there as {HOURS} UTC hours in order, each once")
    return {name: hundredths(table[column].to_numpy()[rows], column) for column, name in COLUMNS.items()}


def hundredths(values: np.ndarray, column: str) -> np.ndarray:
    """int32 hundredths; refuses a column that has more than two decimals."""
    missing = np.isnan(values)
    whole = np.round(np.where(missing, 0.0, values) * 100)
    if not np.allclose(whole / 100, np.where(missing, 0.0, values), rtol=0, atol=1e-9):
        raise SystemExit(f"column {column} has more than two decimals: the file cannot hold it as recorded")
    return np.where(missing, MISSING, whole).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **recorded_year(options.table))
    made = buffer.getvalue()
    if options.check:
        if options.out.read_bytes() != made:
            raise SystemExit(f"{options.out} is not what {options.table} gives")
    else:
        options.out.write_bytes(made)
    sys.stdout.write(f"{hashlib.sha256(made).hexdigest()}  {options.out.name}  {len(made)} bytes\n")


if __name__ == "__main__":
    main()
