#include "tools/report_style.h"

#include "tools/report.h"

/* Data colours t0 to t7, chosen to be told apart by colour-blind readers on both backgrounds and to
 * carry text of the colour "on". */
static const char colours_light[] =
    "--page:#f5f6f8;--card:#fff;--ink:#17202b;--muted:#586371;--grid:#e3e7ec;--axis:#8c96a3;"
    "--on:#fff;--t0:#66717d;--t1:#2a6fd6;--t2:#b85c00;--t3:#0e7f5e;--t4:#8250df;--t5:#c8357d;"
    "--t6:#8a7000;--t7:#0b7c93;";
static const char colours_dark[] =
    "--page:#11161d;--card:#1a212b;--ink:#e8edf3;--muted:#a0acba;--grid:#2c3642;--axis:#6b7785;"
    "--on:#11161d;--t0:#a3afbd;--t1:#6ba6f7;--t2:#f0954a;--t3:#3fbf94;--t4:#b699f5;--t5:#ee74ac;"
    "--t6:#d2b23c;--t7:#45bcd6;";

static const char page_style[] =
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "main{max-width:1080px;margin:0 auto;padding:28px 16px 56px}"
    "h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px;overflow-wrap:anywhere}"
    "h2{font-size:1.25rem;line-height:1.3;margin:44px 0 4px}"
    "p{margin:4px 0 12px;max-width:76ch;overflow-wrap:anywhere}.sub,.note{color:var(--muted)}"
    ".verdict{background:var(--card);border:1px solid var(--grid);border-left:5px solid "
    "var(--t1);border-radius:10px;padding:14px 18px 12px;margin:20px 0}"
    ".verdict h2{margin:0 0 4px;font-size:1.15rem}"
    ".verdict p{margin:0;max-width:90ch}"
    ".verdict ul{margin:8px 0 2px;padding:0 0 0 1.1em}"
    ".verdict li{margin:5px 0;max-width:92ch;overflow-wrap:anywhere}"
    "code{font:.85em/1.5 ui-monospace,'DejaVu Sans Mono',monospace;background:var(--page);"
    "border-radius:5px;padding:1px 6px;display:inline-block;max-width:100%;overflow-wrap:anywhere}"
    ".cards{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));"
    "margin:16px 0}"
    ".card,figure,.table{background:var(--card);border:1px solid var(--grid);border-radius:10px}"
    ".card{padding:12px 14px}.card b{display:block;font-size:1.5rem;line-height:1.3}"
    ".card span{color:var(--muted);font-size:.85rem;display:block;line-height:1.35;"
    "overflow-wrap:anywhere}"
    ".figures{display:grid;gap:16px;align-items:start;margin:12px 0 16px;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}"
    "figure{margin:0;padding:14px 16px 16px;max-width:640px;min-width:0;break-inside:avoid}"
    "figcaption{margin-bottom:12px}figcaption b{display:block;overflow-wrap:anywhere}"
    "figcaption span,.facts{color:var(--muted);font-size:.85rem;line-height:1.4;display:block}"
    ".facts{margin:8px 0 0}"
    ".key{margin:0 0 10px;font-size:.85rem;line-height:1.6}.key span{white-space:nowrap;"
    "margin-right:14px}.key i{display:inline-block;width:.75em;height:.75em;border-radius:50%;"
    "margin-right:.4em}";

static const char plot_style[] =
    "svg{display:block;width:100%;height:auto}"
    "svg text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    "fill:var(--ink)}svg text.small{font-size:11px}"
    "svg text.muted{fill:var(--muted)}svg text.strong{font-weight:600}svg text.on{fill:var(--on)}"
    "svg .grid{stroke:var(--grid);fill:none}svg .axis{stroke:var(--axis)}"
    "svg .leader{stroke:var(--axis);stroke-width:.8}svg .ring{stroke:var(--card);stroke-width:1.5}"
    "svg .front{stroke:var(--axis);stroke-width:1.5;stroke-dasharray:5 4;fill:none}"
    "svg .area{fill:var(--t0);opacity:.5}svg .pale{opacity:.22}";

static const char table_style[] =
    ".table{margin:12px 0 16px}.table,.scroll{overflow-x:auto}"
    ".caption{margin:0;padding:10px 12px 8px;max-width:none;color:var(--muted);font-size:.85rem}"
    ".caption b{display:block;color:var(--ink);font-size:1rem}"
    "table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;padding:10px 12px 4px;font-weight:600}"
    "th,td{padding:5px 9px;text-align:left;white-space:nowrap;border-top:1px solid var(--grid)}"
    "thead th{border-top:0;color:var(--muted);font-weight:600;font-size:.8rem;white-space:normal;"
    "vertical-align:bottom}"
    "tbody th{font-weight:500;position:sticky;left:0;background:var(--card)}"
    "td.n,th.n{text-align:right}td.n,th.n{padding-left:4px;padding-right:8px}"
    ".chip{display:inline-block;min-width:1.55em;padding:0 .3em;border-radius:1em;"
    "text-align:center;color:var(--on);font-size:.82em;line-height:1.5;font-weight:500;"
    "margin-right:.45em}"
    ".matrix{font-size:.72rem}.matrix th,.matrix td{padding:2px 3px}.matrix "
    "tr>:first-child{padding-left:10px}"
    ".matrix tr>:last-child{padding-right:8px}"
    ".matrix tbody th{max-width:300px;overflow:hidden;text-overflow:ellipsis;font-weight:400}"
    ".matrix .chip{margin:0}.matrix td.k{color:var(--muted)}"
    "pre{background:var(--card);border:1px solid var(--grid);border-radius:10px;"
    "padding:12px 14px;font:.85rem/1.5 ui-monospace,'DejaVu Sans Mono',monospace;"
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0 16px}";

static const char media_style[] =
    "@media(max-width:500px){main{padding:16px 12px 40px}h1{font-size:1.4rem}"
    "th,td{padding:5px 8px}.cards{grid-template-columns:1fr 1fr}"
    "tbody th,.matrix tbody th{min-width:10.5em;max-width:42vw;white-space:normal;"
    "overflow-wrap:anywhere}}"
    "@media print{html{font-size:12px}main{max-width:none;padding:0}"
    "body{font-size:10pt;background:#fff}"
    "h2{break-after:avoid;margin-top:20px}.note{break-after:avoid}"
    ".verdict,.card,tr,pre{break-inside:avoid}.caption{break-after:avoid}"
    ".table,.scroll{overflow:visible}.table{border:0}tbody th{position:static}"
    "table{font-size:8pt}th,td{padding:3px 5px;white-space:normal}"
    ".matrix{font-size:6.5pt}.matrix th,.matrix td{padding:1px 2px}"
    ".cards{grid-template-columns:repeat(4,1fr)}.figures{grid-template-columns:1fr 1fr}}";

void report_add_style(markup *out)
{
    markup_add(out, "<style>:root{color-scheme:light dark;%s}", colours_light);
    markup_add(out, "@media screen and (prefers-color-scheme:dark){:root{%s}}", colours_dark);
    markup_add(out, "%s%s%s", page_style, plot_style, table_style);
    for (int tone = 0; tone < 8; tone++) {
        markup_add(out, "svg .t%d{fill:var(--t%d)}", tone, tone);
        markup_add(out, "svg .l%d{stroke:var(--t%d);stroke-width:2;fill:none}", tone, tone);
        markup_add(out, ".c%d{background:var(--t%d)}", tone, tone);
    }
    /* After the colours' own, which they change. */
    markup_add(out, "svg .dash{stroke-dasharray:3 3;stroke-width:1;opacity:.6}"
                    "svg .tooth{stroke-width:.8}"
                    "svg .thick{stroke-width:7;opacity:.45}"
                    "svg .dots{stroke-width:7;stroke-linecap:round;opacity:.9}"
                    "svg .chain{stroke-width:1.2;opacity:.5}");
    for (int level = 1; level < REPORT_LEVELS; level++) {
        markup_add(out, ".h%d{background:rgba(214,92,20,%.2f)}", level, 0.11 * level);
    }
    markup_add(out, "%s", media_style);
    markup_add(out, "@media print{*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
                    "</style>\n");
}
