"""The report's style sheet."""

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --ground: #eef1f4; --page: #fff;
  --ok: #2b7a3d; --warning: #a65f00; --blocker: #b3261e; --info: #3b6ea5; --data: #2f5d8a; --capacity: #a9c4de; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a4adb8; --line: #3a424c; --ground: #262c33;
  --page: #15191e; --ok: #62b576; --warning: #e0a24a; --blocker: #ef7a72; --info: #7fb0e0; --data: #7fb0e0;
  --capacity: #3b5674; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; display: inline-block; }
header p, figure p { color: var(--soft); margin: .2rem 0 1rem; font-size: .85rem; }
section { margin: 1.5rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(max(8.5rem, 22%), 1fr)); gap: .6rem; }
.tile { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .8rem; color: var(--soft);
  font-size: .85rem; }
.tile b { display: block; font-size: 1.35rem; color: var(--ink); white-space: nowrap; }
.tile.ok b { color: var(--ok); } .tile.warning b { color: var(--warning); } .tile.blocker b { color: var(--blocker); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem 2.5rem; }
figure { margin: 0 0 1.5rem; break-inside: avoid; }
figure h2 { display: block; }
svg { width: 100%; max-width: 34rem; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .figure { text-anchor: end; fill: var(--soft); }
svg .ground { fill: var(--ground); } svg .ok { fill: var(--ok); } svg .warning { fill: var(--warning); }
svg .blocker { fill: var(--blocker); } svg .info { fill: var(--info); } svg .data { fill: var(--data); }
svg .capacity { fill: var(--capacity); } svg .chosen { fill: var(--ok); }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
td:first-child { overflow-wrap: break-word; }
td:nth-child(2) { white-space: nowrap; }
.badge { border: 1px solid; border-radius: 1rem; padding: 0 .5rem; font-size: .8rem;
  white-space: nowrap; }
code { font-size: .75rem; }
.badge.ok { color: var(--ok); } .badge.warning { color: var(--warning); } .badge.blocker { color: var(--blocker); }
summary { cursor: pointer; }
@media screen and (max-width: 40rem) {
  thead { display: none; } table, tbody, tr, td { display: block; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  td { border: 0; padding: .1rem 0; } td:nth-child(2) { white-space: normal; }
  .short td { display: inline-block; margin-right: 1rem; }
  .short td:first-child { display: block; font-weight: 600; }
  td:empty { display: none; }
  td::before { content: attr(data-name) ": "; color: var(--soft); font-weight: 400; }
  .short td:first-child::before { content: ""; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --ground: #eee; --page: #fff; --ok: #2b7a3d; --warning: #a65f00;
    --blocker: #b3261e; --info: #3b6ea5; --data: #2f5d8a; --capacity: #a9c4de; }
  body { max-width: none; padding: 0; font-size: 10pt; } tr, .tile { break-inside: avoid; }
  svg rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; } thead { display: table-header-group; }
}
"""
