/* How the page looks: its colours, light and dark, and its styles. */
#ifndef DYNQ_TOOLS_REPORT_STYLE_H
#define DYNQ_TOOLS_REPORT_STYLE_H

#include "tools/markup.h"

/* Appends the element <style>. */
void report_add_style(markup *out);

#endif
