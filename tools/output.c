#include "tools/output.h"

#include "tools/allocate.h"
#include "tools/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_CELLS        30
#define REDRAW_NS        100000000u
#define NS_PER_SECOND    1e9
#define JSON_DIGITS      15 /* what every double keeps: 0.8951 stays 0.8951 */
#define LONGEST_ETA_HOUR 99

static json_t *checked(json_t *value)
{
    if (value == NULL) {
        allocate_failed();
    }
    return value;
}

json_t *command_json_new(const char *name)
{
    json_t *object = command_json_object();
    char schema[64];
    snprintf(schema, sizeof schema, "dynq.%s/1", name);
    command_json_set(object, "schema", command_json_string(schema));
    return object;
}

json_t *command_json_object(void)
{
    return checked(json_object());
}

json_t *command_json_array(void)
{
    return checked(json_array());
}

json_t *command_json_number(double value)
{
    return isfinite(value) ? checked(json_real(value)) : json_null();
}

json_t *command_json_integer(uint64_t value)
{
    return value <= INT64_MAX ? checked(json_integer((json_int_t)value))
                              : command_json_number((double)value);
}

json_t *command_json_boolean(int value)
{
    return value ? json_true() : json_false();
}

json_t *command_json_string(const char *text)
{
    if (text == NULL) {
        return json_null();
    }
    json_t *string = json_string(text);
    if (string != NULL) {
        return string;
    }
    char *ascii = allocate_text(text); /* a file name need not be UTF-8 */
    for (char *c = ascii; *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80) {
            *c = '?';
        }
    }
    string = checked(json_string(ascii));
    free(ascii);
    return string;
}

void command_json_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) {
        allocate_failed();
    }
}

void command_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0) {
        allocate_failed();
    }
}

void command_json_print(json_t *object)
{
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(JSON_DIGITS));
    if (text == NULL) {
        allocate_failed();
    }
    puts(text);
    free(text);
    json_decref(object);
}

static int environment_has(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0';
}

command_progress command_progress_begin(const char *label, uint64_t total, int quiet)
{
    const char *terminal = getenv("TERM");
    const int dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    return (command_progress){
        .label = label,
        .total = total,
        .start_ns = statistics_now_ns(),
        .visible = !quiet && total > 0 && isatty(STDERR_FILENO) && !dumb,
        .colour = !environment_has("NO_COLOR"),
    };
}

static void draw(const command_progress *self, uint64_t done, double seconds)
{
    const double share = (double)done / (double)self->total;
    const int cells = (int)(share * BAR_CELLS);
    char bar[2 * BAR_CELLS];
    memset(bar, '#', BAR_CELLS);
    memset(bar + BAR_CELLS, '.', BAR_CELLS);
    const char *filled = self->colour ? "\033[32m" : "";
    const char *plain = self->colour ? "\033[0m" : "";
    fprintf(stderr, "\r%-16.16s [%s%.*s%s%.*s] %3.0f %%", self->label, filled, cells, bar, plain,
            BAR_CELLS - cells, bar + BAR_CELLS, 100 * share);
    const double rest = done > 0 ? seconds / share - seconds : INFINITY;
    if (rest < 3600.0 * LONGEST_ETA_HOUR) {
        const unsigned left = (unsigned)(rest + 0.5);
        fprintf(stderr, "  ETA %u:%02u:%02u ", left / 3600, left / 60 % 60, left % 60);
    }
    fflush(stderr);
}

void command_progress_update(command_progress *self, uint64_t done)
{
    if (!self->visible) {
        return;
    }
    const uint64_t now = statistics_now_ns();
    if (self->drawn_ns != 0 && now - self->drawn_ns < REDRAW_NS && done < self->total) {
        return;
    }
    self->drawn_ns = now;
    draw(self, done < self->total ? done : self->total,
         (double)(now - self->start_ns) / NS_PER_SECOND);
}

void command_progress_end(command_progress *self)
{
    if (self->visible && self->drawn_ns != 0) {
        fprintf(stderr, "\r%*s\r", 79, "");
        fflush(stderr);
    }
    self->visible = 0;
}
