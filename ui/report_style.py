"""The report's colours and measures: light and dark by the reader's own preference, nothing wider than the screen."""

STYLE = """<style>
:root { color-scheme: light dark; --ground: #fff; --text: #1c1c20; --quiet: #5b5b66; --line: #d6d6de; --card: #f5f5f8;
  --bar: #5b84dc; --mark: #b4460a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16161a; --text: #ebebef; --quiet: #a6a6b2; --line: #3b3b45; --card: #202026; --bar: #4a72c4;
    --mark: #fbbf24; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .3rem 0 .8rem; max-width: 48rem; }
.quiet, figcaption, dt { color: var(--quiet); font-size: .875rem; }
.cards, .charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 2rem; align-items: start; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.5rem; line-height: 1.3; }
figure { margin: 0; } figcaption { margin-bottom: .6rem; }
.chart { display: block; overflow: visible; } .chart text { font-size: 13px; fill: var(--text); }
.chart .number { text-anchor: end; } .chart .axis { text-anchor: middle; fill: var(--quiet); }
.bar { fill: var(--bar); } .grid { stroke: var(--line); } .whisker { stroke: var(--text); stroke-width: 1.5; }
.expected { stroke: var(--mark); stroke-width: 3; stroke-dasharray: 4 2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
th { overflow-wrap: break-word; } td { white-space: pre-wrap; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; padding: .35rem 0; }
.failure { border-top: 1px solid var(--line); } .failure > summary { font-weight: 600; }
.ob-legend { margin: 0 0 1.2rem; } dd details { color: var(--quiet); font-size: .875rem; }
.failure .quiet { font-weight: 400; } .failure .ob-tokens { font-size: 1rem; line-height: 1.9; }
dl { margin: .2rem 0 1.2rem; padding-left: 1rem; } dd { margin: 0 0 .6rem; }
ol, ul { margin: 0; padding-left: 0; }
li { list-style: none; } [dir] { unicode-bidi: isolate; }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
@media print { .failure { break-inside: avoid; } }
</style>"""
