# SPDX-License-Identifier: Apache-2.0
"""The benchmark's picture: for each figure belay's bar beside the stock shim's, which is drawn as 100 %."""

BARS = [
    ("life", "whole life"), ("life_cold", "whole life, cold"), ("exec", "exec to exit"), ("state", "State"),
    ("rss_idle", "RSS"), ("anon_after", "anonymous memory after 1,000 execs"),
    ("shim_cpu_ms_per_gib", "shim CPU per GiB of stdout"),
]
WIDTH, LEFT, BAR, GAP = 800, 290, 13, 44


def draw(result):
    height = 56 + GAP * len(BARS)
    scale = WIDTH - LEFT - 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="16" y="24" font-size="15" font-weight="bold">belay beside the stock shim with runc (= 100 %), '
        'shorter is better</text>',
    ]
    for i, (key, label) in enumerate(BARS):
        ours, theirs = result["belay"][key], result["stock"][key]
        share = ours / theirs if theirs else 0
        y = 44 + i * GAP
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 18}" text-anchor="end">{label}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(share * scale, 1.5):.1f}" height="{BAR}" fill="#1a7f5a"/>',
            f'<text x="{LEFT + max(share * scale, 1.5) + 6:.1f}" y="{y + 11}" font-weight="bold">{share:.1%}</text>',
            f'<rect x="{LEFT}" y="{y + BAR + 3}" width="{scale}" height="{BAR}" fill="#c9c9c9"/>',
            f'<text x="{LEFT + scale + 6}" y="{y + BAR + 14}" fill="#666">100 %</text>',
        ]
    return "\n".join(parts + ["</svg>"]) + "\n"
