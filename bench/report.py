"""docs/benchmarks.md: what scripts/bench --report writes, and its plots (gnuplot, SVG).

The page is made of bench/report.md, where a line `{{machine}}` or `{{row http-hello}}` stands for what is measured. A row that
was not measured this time keeps what the page says of it.
"""

import datetime
import os
import platform
import re
import subprocess

import harness as h

PAGE = os.path.join(h.ROOT, "docs", "benchmarks.md")
PLOTS = os.path.join(h.ROOT, "docs", "benchmarks")
PLOTTED = {"cpu_us": "CPU per request, µs", "bytes": "resident bytes"}


def version(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.-]*", done.stdout + done.stderr)
    return found.group(0) if found else "?"


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read()).group(1)
    with open("/etc/os-release") as f:
        system = re.search(r'PRETTY_NAME="(.*)"', f.read()).group(1)
    peers = f"nginx {version('nginx', '-v')}, HAProxy {version('haproxy', '-v')}, OpenSSL {version('openssl', 'version')}"
    return (f"{datetime.date.today():%Y-%m-%d}; {system}, Linux {platform.release()}, {len(h.all_cores())} cores of "
            f"{model} (a virtual machine); {peers}.")


def markdown_table(title, results, columns):
    lines = [f"| {title} | " + " | ".join(heading for _, heading, _ in columns) + " |",
             "| --- |" + " ---: |" * len(columns)]
    for name, figures in results.items():
        lines.append(f"| {name} | " + " | ".join(format(figures[key], form) for key, _, form in columns) + " |")
    return "\n".join(lines)


def markdown_ratios(ratios):
    lines = ["| | measured | goal | |", "| --- | ---: | ---: | --- |"]
    for what, value, bound, at_most, met in ratios:
        lines.append(f"| {what} | {value:,.2f} | {'≤' if at_most else '≥'} {bound:,} | {'met' if met else '**missed**'} |")
    return "\n".join(lines)


def plot(name, number, title, results, columns):
    """A bar for each server; the plot's path, or None where there is nothing to compare."""
    key = next((key for key, _, _ in columns if key in PLOTTED), None)
    if not key or len(results) < 2:
        return None
    os.makedirs(PLOTS, exist_ok=True)
    path = os.path.join(PLOTS, f"{name}-{number}.svg")
    rows = "\n".join(f'"{server}" {figures[key]:.6g}' for server, figures in results.items())
    script = f"""
set terminal svg size 560,{70 + 34 * len(results)} font "sans,12" background rgb "white"
set output "{path}"
set title "{title}" noenhanced
set style fill solid 0.85 border -1
set yrange [-0.6:{len(results) - 0.4}] reverse
set xrange [0:*]
set xlabel "{PLOTTED[key]}"
set grid xtics lc rgb "#dddddd"
unset key
$rows << EOD
{rows}
EOD
plot $rows using (0):0:(0):2:($0-0.32):($0+0.32):ytic(1) with boxxyerror lc rgb "#3b6ea8", \\
     $rows using 2:0:(sprintf(" %.4g",$2)) with labels left noenhanced
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    return os.path.relpath(path, os.path.dirname(PAGE))


def section(result):
    parts = []
    for number, (title, results, columns) in enumerate(result.tables, 1):
        parts.append(markdown_table(title, results, columns))
        image = plot(result.title, number, title, results, columns)
        if image:
            parts.append(f"![{result.title}: {title}]({image})")
    parts.append(markdown_ratios(result.ratios))
    parts += result.notes
    return "\n\n".join(parts)


def marked(name, text):
    return f"<!-- {name} -->\n{text}\n<!-- /{name} -->"


def kept(page, name):
    found = re.search(rf"<!-- {re.escape(name)} -->\n(.*?)\n<!-- /{re.escape(name)} -->", page, re.S)
    return found.group(1) if found else "Not measured yet."


def write(results, opts):
    old = ""
    if os.path.exists(PAGE):
        with open(PAGE) as f:
            old = f.read()
    with open(os.path.join(h.HERE, "report.md")) as f:
        text = f.read()
    fresh = {f"row {result.title}": section(result) for result in results}
    fresh["machine"] = f"Measured {machine()} {opts.rounds} rounds of {opts.seconds} s."
    text = re.sub(r"^\{\{(.*?)\}\}$", lambda m: marked(m[1], fresh.get(m[1]) or kept(old, m[1])), text, flags=re.M)
    with open(PAGE, "w") as f:
        f.write(text)
    print(f"\nwrote {os.path.relpath(PAGE, h.ROOT)}")
