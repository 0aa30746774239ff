"""Write the example annual report, documents/annual-report-2024.pdf.

The text of the report stands in this file, one string for each page. In it a line
that starts with "# " is a heading, lines that start with "|" are rows of a table
(the first row is its head), and every other block between blank lines is a paragraph.

The output is the same to the byte on every run: no current date or random identifier
is stored, streams are left uncompressed, and only standard Type-1 fonts are used.

Usage: python make_report_pdf.py [OUTPUT.pdf]      (needs the package reportlab)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

TITLE = "Withy Creek Boat Workshop: Annual Report 2024"
OUTPUT = Path(__file__).resolve().parent / "documents" / "annual-report-2024.pdf"

PAGES = (
    """
# Withy Creek Boat Workshop: Annual Report 2024

# A word from the chair

Withy Creek Boat Workshop opened its doors in April 2009, when Agnes Pollard and
eleven neighbours rented the empty ropeworks on Ferry Lane. The year 2024 was
therefore our fifteenth birthday, and it tried hard to be a memorable one.

The worst hour of 2024 came on 9 February, when the River Tarrow rose over the quay and
put forty centimetres of water in the main shed. Forty-six members came that night,
some of them in pyjamas, and carried every machine motor up to the drawing loft. Only
the old mortising machine was lost.

The best hour of 2024 was the launch of the rowing gig Kittiwake on 15 June. About 430
people stood on the quay, and the gig went into the water on the first push. She is
6.4 metres long and was built in nineteen months, entirely by people who had never
built a boat before.

I thank everyone who swept, sawed, rowed, baked and wrote letters for us.

Beatrix Somner, chair
""",
    """
# Our people

On 31 December 2024 the workshop had 212 members, against 187 a year before. The
largest group was the full members, of whom there were 118. Volunteers gave 3,460 hours
of work in 2024, which is as much as two people working all year.

Our oldest active member is Walter Quill, who is ninety-one and makes all our wooden
blocks. He began at Withy Creek at the age of eighty, after selling his bicycle shop.

Two apprentices finished their training in 2024. Tamsin Rook stayed with us as a
teaching helper. Joel Brandt left in October to work on the restoration of a sailing
barge in Harlingen.

The Junior Gang had nineteen children on its list. In May they won the Golden Bailer at
the Tarrow Regatta for the best home-made boat, a coracle of willow and old sailcloth.

Margaret Oyelaran stepped down as safety officer in December 2024, after eight years
in the post, because she is moving to Norway to be near her grandchildren.
""",
    """
# Our boats

The workshop built seven boats in 2024 and repaired twenty-three others. The table
shows the four jobs that took the most hours.

| Boat | Work | Hours
| Patience, lugger of 1908 | new ribs and deck | 1,150
| Kittiwake, rowing gig | last months of building | 870
| Marigold, ferry boat | new planks below the water | 540
| Two skiffs for the scouts of Aldmouth | built new | 465

The longest job of 2024 was the repair of the lugger Patience, which took 1,150 hours.
When her old deck was lifted, a child's leather shoe was found between two frames. Boat
builders once hid a shoe for good luck, so it was put back with a silver coin.

We used 14 cubic metres of timber in 2024. Most of the larch came from the Hollin Wood
estate, nineteen kilometres away, and was drawn out of the forest by horses. One oak
trunk came from the churchyard of Saint Bride, where a gale had brought it down.

The hire fleet of six rowing boats was out on the river for 1,240 hours. The most
popular boat in the fleet was the green skiff Dabchick.
""",
    """
# Our money

In 2024 the workshop received £118,400 and spent £111,950, so that £6,450 was left over.
It was the third year in a row with a surplus.

| Received | Amount in 2024
| Courses | £38,600
| Repairs and boats built to order | £34,200
| Membership fees | £19,300
| Grants and gifts | £17,500
| Tea room, tickets and hire | £8,800

| Spent | Amount in 2024
| Wages | £58,200
| Timber and materials | £24,750
| Rent and insurance | £13,400
| Mending the flood damage | £9,100
| Heat, light and water | £6,500

The largest single grant was £12,000 from the Pellow Foundation, given for repairs after
the flood. The largest single source of money was our courses, which brought in almost a
third of the total.

The reserve of the workshop stood at £31,200 at the end of 2024. The members' meeting
wants the reserve to cover four months of spending, and we are not quite there yet.

The accounts were examined by Cyril Ashdown, who signed them on 28 February 2025.
""",
    """
# Our building and our plans

The thirty-six solar panels on the south roof made 9,870 kilowatt-hours of electricity
in 2024. We used about two thirds of it ourselves and sold the rest to the grid. The
main shed is warmed by a stove that burns our own shavings and offcuts, so no timber
waste left the site.

The kitchen was moved upstairs after the flood. The sockets in the main shed now stand
1.2 metres above the floor, which is higher than any flood on record.

There are three plans for 2025. The first plan is to fit flood boards to the river doors
before the autumn. The second plan is to restore the ropewalk, the long gallery where
rope was once twisted, and to open it as a sail loft. The third plan is to
build a boat together with our partners in China.

We also hope to record the memories of people who worked in the ropeworks before it
closed in 1974. Anyone with photographs or stories is asked to write to Rosalind Peake.
""",
)

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=11.5, leading=16)
HEADING = ParagraphStyle("heading", fontName="Helvetica-Bold", fontSize=15, leading=20)
TABLE_STYLE = [
    ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10),
    ("FONT", (0, 1), (-1, -1), "Times-Roman", 11),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
    ("LINEBELOW", (0, -1), (-1, -1), 0.4, colors.grey),
]


def block_to_flowable(block: str) -> Flowable:
    """Turn one block of page text into a heading, a table or a paragraph."""
    if block.startswith("# "):
        return Paragraph(block[2:], HEADING)
    if block.startswith("|"):
        rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in block.splitlines()]
        return Table(rows, hAlign="LEFT", style=TABLE_STYLE)
    return Paragraph(" ".join(block.split()), BODY)


def draw_footer(canvas: Canvas, document: BaseDocTemplate) -> None:
    """Write the name of the report and the page number at the foot of a page."""
    canvas.setFont("Helvetica", 9)
    canvas.drawString(25 * mm, 15 * mm, f"{TITLE}, page {document.page}")


def write_report(output: Path) -> None:
    """Lay the pages out and write the PDF file."""
    document = BaseDocTemplate(
        str(output),
        pagesize=A4,
        title=TITLE,
        author="Withy Creek Boat Workshop",
        subject="A fictional report, part of an example document set",
        lang="en-GB",
        invariant=1,
        pageCompression=0,
    )
    frame = Frame(25 * mm, 25 * mm, A4[0] - 50 * mm, A4[1] - 50 * mm)
    document.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=draw_footer))
    story: list[Flowable] = []
    for text in PAGES:
        for block in text.strip().split("\n\n"):
            story += [block_to_flowable(block), Spacer(1, 4 * mm)]
        story.append(PageBreak())
    document.build(story[:-1])


if __name__ == "__main__":
    write_report(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
