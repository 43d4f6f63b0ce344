"""figures_plot.py - bars as SVG, 800 pixels wide, for light and dark pages"""
import html

WIDTH, LEFT, RIGHT, BAR, ROW, GROUP = 800, 210, 190, 18, 24, 34
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.peer { fill: #8c959f } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .peer { fill: #656c76 } .ours { fill: #4493f8 } }
</style>
"""


def bars(title, unit, groups, footer):
    """groups: [(heading, [(label, value, is ours, note)])]. Bars begin at zero, all in one scale."""
    largest = max(value for _, rows in groups for _, value, _, _ in rows)
    out, y = [], 26
    out.append(f'<text class="head" x="8" y="18">{html.escape(title)}: {html.escape(unit)}</text>')
    for heading, rows in groups:
        y += GROUP
        out.append(f'<text class="head" x="8" y="{y - 10}">{html.escape(heading)}</text>')
        for label, value, ours, note in rows:
            width = max(1, round((WIDTH - LEFT - RIGHT) * value / largest))
            middle = y + BAR - 5
            out.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{html.escape(label)}</text>')
            out.append(f'<rect class="{"ours" if ours else "peer"}" x="{LEFT}" y="{y}" width="{width}" '
                       f'height="{BAR}" rx="2"/>')
            note = f' <tspan class="small">{html.escape(note)}</tspan>' if note else ""
            number = f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
            out.append(f'<text x="{LEFT + width + 6}" y="{middle}">{number}{note}</text>')
            y += ROW
    height = y + 30
    out.append(f'<text class="small" x="8" y="{height - 10}">{html.escape(footer)}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img">\n' + STYLE + "\n".join(out) + "\n</svg>\n")
