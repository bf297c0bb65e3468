"""How the time of each case grows with the number of rows, as an SVG: both axes logarithmic, one
line a case, and the floor of each as a thin one of the same colour."""

from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, TOP, BELOW, LEGEND = 860, 460, 70, 30, 50, 260
COLOURS = ["#1b6ca8", "#c0392b", "#27813c", "#8e5ea2", "#d68910", "#148f8b", "#6b4423", "#555555"]


def plot(results):
    xs, ys = [r["rows"] for r in results], [r[k] for r in results for k in ("seconds", "floor")]
    x0, x1 = floor(log10(min(xs))), max(ceil(log10(max(xs))), floor(log10(min(xs))) + 1)
    y0, y1 = floor(log10(min(ys))), max(ceil(log10(max(ys))), floor(log10(min(ys))) + 1)
    wide, high = WIDTH - LEFT - LEGEND, HEIGHT - TOP - BELOW
    x = lambda v: LEFT + (log10(v) - x0) / (x1 - x0) * wide
    y = lambda v: TOP + high - (log10(v) - y0) / (y1 - y0) * high
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>']
    text = lambda px, py, what, anchor="start": out.append('<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>' % (
        px, py, anchor, escape(what)))
    rule = lambda *at: out.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>' % at)
    for power in range(x0, x1 + 1):
        rule(x(10 ** power), TOP, x(10 ** power), TOP + high)
        text(x(10 ** power), TOP + high + 18, "{:,}".format(10 ** power), "middle")
    for power in range(y0, y1 + 1):
        rule(LEFT, y(10 ** power), LEFT + wide, y(10 ** power))
        text(LEFT - 8, y(10 ** power) + 4, "%g s" % 10 ** power, "end")
    text(LEFT + wide / 2, HEIGHT - 12, "rows", "middle")
    names = list(dict.fromkeys(r["case"] for r in results))
    for n, name in enumerate(names):
        colour = COLOURS[n % len(COLOURS)]
        points = sorted((r["rows"], r["seconds"], r["floor"]) for r in results if r["case"] == name)
        for column, width in (1, 2.2), (2, 0.8):
            out.append('<polyline fill="none" stroke="%s" stroke-width="%s" points="%s"/>' % (
                colour, width, " ".join("%.1f,%.1f" % (x(p[0]), y(p[column])) for p in points)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x(p[0]), y(p[1]), colour) for p in points]
        out.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (WIDTH - LEGEND + 16, TOP + 22 * n, colour))
        text(WIDTH - LEGEND + 34, TOP + 22 * n + 11, name)
    text(WIDTH - LEGEND + 16, TOP + 22 * len(names) + 14, "thin: the floor of each")
    return "\n".join(out + ["</svg>"]) + "\n"
