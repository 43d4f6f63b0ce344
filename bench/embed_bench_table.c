/* embed_bench_table.c - writes the machine, then rows, as CSV or JSON */
#include "embed_bench.h"

#include <stdarg.h>
#include <string.h>

/* Writes a JSON string. Control characters can come only from names of devices and files. */
static void put_json(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < 0x20) fprintf(out, "\\u%04x", c);
        else fputc(c, out);
    }
    fputc('"', out);
}

/* Quotes a CSV field if necessary. */
static void put_csv(FILE *out, const char *text)
{
    if (text[strcspn(text, ",\"\n\r")] == '\0') {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void table_remark(struct table *table, const char *name, const char *value)
{
    if (!table->json) {
        fprintf(table->out, "# %s: %s\n", name, value);
        return;
    }
    fputc('{', table->out);
    put_json(table->out, name);
    fputs(": ", table->out);
    put_json(table->out, value);
    fputs("}\n", table->out);
}

void table_start(struct table *table, FILE *out, bool json)
{
    char machine[1024];
    memset(table, 0, sizeof *table);
    table->out = out;
    table->json = json;
    machine_line(machine, sizeof machine);
    if (json) table_remark(table, "machine", machine);
    else fprintf(out, "# %s\n", machine);
    fflush(out);
}

static char *next_value(struct table *table, const char *name)
{
    if (table->count == MOST_COLUMNS) die("a row of more than %d columns", MOST_COLUMNS);
    size_t i = table->count++;
    snprintf(table->names[i], sizeof table->names[i], "%s", name);
    table->is_text[i] = false;
    return table->values[i];
}

void table_text(struct table *table, const char *name, const char *value)
{
    char *out = next_value(table, name);
    snprintf(out, sizeof table->values[0], "%s", value);
    table->is_text[table->count - 1] = true;
}

void table_number(struct table *table, const char *name, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(next_value(table, name), sizeof table->values[0], format, values);
    va_end(values);
}

void table_none(struct table *table, const char *name)
{
    *next_value(table, name) = '\0';
}

static void end_json(const struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        fputs(i == 0 ? "{" : ", ", table->out);
        put_json(table->out, table->names[i]);
        fputs(": ", table->out);
        if (table->is_text[i]) put_json(table->out, table->values[i]);
        else fputs(table->values[i][0] != '\0' ? table->values[i] : "null", table->out);
    }
    fputs("}\n", table->out);
}

static void end_csv(const struct table *table)
{
    for (size_t i = 0; i < table->count && !table->has_header; i++)
        fprintf(table->out, "%s%s", table->names[i], i + 1 < table->count ? "," : "\n");
    for (size_t i = 0; i < table->count; i++) {
        put_csv(table->out, table->values[i]);
        fputc(i + 1 < table->count ? ',' : '\n', table->out);
    }
}

void table_end_row(struct table *table)
{
    if (table->json) end_json(table);
    else end_csv(table);
    table->has_header = true;
    table->count = 0;
    fflush(table->out);
}

void table_model(struct table *table, const embed_model_info *info)
{
    table_text(table, "device", info->device_name);
    table_text(table, "instruction_set", info->instruction_set);
    table_number(table, "threads", "%u", info->threads);
    table_text(table, "dtype", dtype_name(info->dtype));
}
