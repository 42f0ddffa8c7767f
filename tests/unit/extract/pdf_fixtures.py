"""Small PDFs for tests, written by hand so that each line is where the test wants it."""

from collections.abc import Sequence

Placed = tuple[float, float, str]  # from the left and from below, in points; the text of a line


def pdf(
    pages: Sequence[Sequence[Placed]], *, info: str = "", trailer: str = "", size: int = 12
) -> bytes:
    """A PDF of Helvetica lines; ``info`` and ``trailer`` are more of those dictionaries."""
    numbers = [4 + 2 * index for index in range(len(pages))]
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    }
    for number, lines in zip(numbers, pages, strict=True):
        drawn = "\n".join(
            f"BT /F1 {size} Tf {x} {y} Td ({_escaped(text)}) Tj ET" for x, y, text in lines
        )
        objects[number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        length = len(drawn.encode("cp1252"))
        objects[number + 1] = f"<< /Length {length} >>\nstream\n{drawn}\nendstream"
    last = max(objects) + 1
    objects[last] = f"<< {info} >>"
    data, places = b"%PDF-1.4\n", []
    for number, content in sorted(objects.items()):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = (
        f"xref\n0 {last + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {last + 1} /Root 1 0 R /Info {last} 0 R {trailer} >>\n"
        f"startxref\n{len(data)}\n%%EOF\n"
    )
    return data + end.encode()


def paragraph(*lines: str, left: float = 50, top: float = 700) -> list[Placed]:
    """Lines one below the other."""
    return [(left, top - 14 * index, line) for index, line in enumerate(lines)]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
