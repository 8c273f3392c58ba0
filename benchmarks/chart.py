"""Chart: bars, one a line, as SVG that reads well on a light and on a dark page. Pure: text in, text out."""

import math
from collections.abc import Iterator
from html import escape

from benchmarks.results import Chart

WIDTH, LABELS, FIGURES, LINE, TOP = 880, 260, 110, 26, 56
OURS, OTHERS = "#2f6feb", "#8b949e"
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 15px; font-weight: 600 }
.axis { font-size: 11px; fill: #656d76 } line { stroke: #8b949e; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { fill: #9198a1 } }
</style>"""


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    height = TOP + LINE * len(chart.bars) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            STYLE,
            f'<text class="title" x="8" y="20">{escape(chart.title)}</text>',
            *_axis(chart, height),
            *_bars(chart),
            "</svg>\n",
        ]
    )


def _axis(chart: Chart, height: int) -> Iterator[str]:
    for value in _marks(chart):
        x = LABELS + _length(chart, value)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 6}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="{TOP - 14}" text-anchor="middle">{value:,.0f} {chart.unit}</text>'


def _bars(chart: Chart) -> Iterator[str]:
    for place, (name, value) in enumerate(chart.bars.items()):
        y, length = TOP + LINE * place, max(1.0, _length(chart, value))
        color, weight = (OURS, 600) if name in chart.ours else (OTHERS, 400)
        yield f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end" font-weight="{weight}">{escape(name)}</text>'
        yield f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{LINE - 8}" rx="2" fill="{color}"/>'
        yield f'<text x="{LABELS + length + 6:.1f}" y="{y + 14}" font-weight="{weight}">{value:,.0f}</text>'


def _marks(chart: Chart) -> list[float]:
    """Powers of ten on a logarithmic axis, else about four round numbers."""
    low, high = _range(chart)
    if chart.logarithmic:
        return [10.0**power for power in range(round(math.log10(low)), math.ceil(math.log10(high)))]
    step = 10.0 ** math.floor(math.log10(high))
    step = next(step * part for part in (1, 0.5, 0.2, 0.1) if high / (step * part) >= 3)
    return [step * number for number in range(int(high / step) + 1)]


def _length(chart: Chart, value: float) -> float:
    """Of the bar, in pixels."""
    low, high = _range(chart)
    share = math.log(max(value, low) / low) / math.log(high / low) if chart.logarithmic else value / high
    return share * (WIDTH - LABELS - FIGURES)


def _range(chart: Chart) -> tuple[float, float]:
    """Both ends of the axis. A logarithmic one begins at a power of ten."""
    low, high = min(chart.bars.values()), max(chart.bars.values())
    return (10.0 ** math.floor(math.log10(low * 0.9)), high * 1.05) if chart.logarithmic else (0.0, high)
