"""Reading of Excel workbooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segcrf.data.readers.dependencies import import_pandas, import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.layout import is_number
from segcrf.data.readers.sheet import Sheet, sheet_of_frame

__all__ = ["open_excel"]


def open_excel(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the sheets of a workbook that have rows; each is a table of recordings.

    The header is the first row that is filled as far as the rows below it.

    Args:
        file: a .xlsx file.
        dialect: ``variable`` names one sheet.

    Raises:
        ImportError: openpyxl is not installed.
        TableError: there is no such sheet.
    """
    import_reader("openpyxl", "xlsx")
    sheets: dict[str, Any] = import_pandas().read_excel(
        file, sheet_name=None, header=None, engine="openpyxl", keep_default_na=False, na_values=[""]
    )
    if dialect.variable is not None:
        if dialect.variable not in sheets:
            raise TableError("sheet", repr(dialect.variable), f"one of {', '.join(sheets)}", file=file)
        sheets = {dialect.variable: sheets[dialect.variable]}
    found = [_open_sheet(name, frame) for name, frame in sheets.items() if len(frame) > 1 and frame.shape[1]]
    return [found[0]._replace(name=None)] if len(found) == 1 else found


def _open_sheet(name: str, frame: Any) -> Sheet:
    filled = frame.notna().sum(axis=1).to_numpy()
    header = int((filled >= filled[-min(len(filled), 20) :].max() * 0.75).argmax())
    names = ["" if import_pandas().isna(cell) else str(cell).strip() for cell in frame.iloc[header]]
    notes = [f"{header} rows before the header in row {header + 1} are left out"] if header else []
    if all(word == "" or is_number(word) for word in names):
        names, header = [f"column {number}" for number in range(1, len(names) + 1)], header - 1
        notes.append(f"there is no header; the columns are called column 1 to column {len(names)}")
    body = frame.iloc[header + 1 :]
    named = [place for place, word in enumerate(names) if word or body.iloc[:, place].notna().any()]
    body = body.iloc[:, named].infer_objects()
    body.columns = [names[place] for place in named]
    sheet = sheet_of_frame(name, body, notes, first_row=header + 2)
    blank = body.isna().all(axis=1).to_numpy()

    def read(columns: Sequence[str], text: Sequence[str]) -> Any:
        return body.loc[~blank, list(columns)]

    return sheet._replace(read=read)
