/* SPDX-License-Identifier: Apache-2.0
 *
 * See metrics.h: the table for people.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/belay/metrics.h"

enum { CELL_BYTES = 48 };

/* "512B", "1.5MiB", "20GiB". */
static void format_bytes(char cell[static CELL_BYTES], uint64_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        double value = (double)bytes;
        size_t unit = 0;

        while (value >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
                value /= 1024;
                unit++;
        }
        (void)snprintf(cell, CELL_BYTES, unit > 0 && value < 99.95 ? "%.1f%s" : "%.0f%s", value,
                       units[unit]);
}

static void format_percent(char cell[static CELL_BYTES], double percent)
{
        if (percent < 0)
                (void)snprintf(cell, CELL_BYTES, "-");
        else
                (void)snprintf(cell, CELL_BYTES, "%.1f%%", percent);
}

static void format_pair(char cell[static CELL_BYTES], const char *a, const char *b)
{
        (void)snprintf(cell, CELL_BYTES, "%.20s / %.20s", a, b);
}

static void format_memory(char cell[static CELL_BYTES], const struct metrics_summary *s)
{
        char used[CELL_BYTES];
        char limit[CELL_BYTES] = "none";

        format_bytes(used, s->memory);
        if (s->memory_limit != UINT64_MAX)
                format_bytes(limit, s->memory_limit);
        format_pair(cell, used, limit);
}

static void format_pids(char cell[static CELL_BYTES], const struct metrics_summary *s)
{
        char current[CELL_BYTES];
        char limit[CELL_BYTES] = "none";

        (void)snprintf(current, sizeof(current), "%llu", (unsigned long long)s->pids);
        if (s->pids_limit != UINT64_MAX)
                (void)snprintf(limit, sizeof(limit), "%llu", (unsigned long long)s->pids_limit);
        format_pair(cell, current, limit);
}

static void format_io(char cell[static CELL_BYTES], const struct metrics_summary *s)
{
        char read[CELL_BYTES];
        char written[CELL_BYTES];

        format_bytes(read, s->read_bytes);
        format_bytes(written, s->written_bytes);
        format_pair(cell, read, written);
}

static void print_row(FILE *f, int width, const struct metrics_row *row, bool pressure)
{
        const struct metrics_summary *s = &row->now;
        double share = s->memory_limit == UINT64_MAX || s->memory_limit == 0
                               ? -1
                               : 100.0 * (double)s->memory / (double)s->memory_limit;
        char cpu[CELL_BYTES];
        char memory[CELL_BYTES];
        char percent[CELL_BYTES];
        char pids[CELL_BYTES];
        char io[CELL_BYTES];
        char throttled[CELL_BYTES];

        format_percent(cpu, metrics_cpu_percent(row));
        format_memory(memory, s);
        format_percent(percent, share);
        format_pids(pids, s);
        format_io(io, s);
        format_percent(throttled, metrics_throttled_percent(row));
        (void)fprintf(f, "%-*s  %7s  %-20s  %6s  %-13s  %-20s  %9s", width, row->id, cpu, memory,
                      percent, pids, io, throttled);
        if (pressure && s->has_pressure)
                (void)fprintf(f, "  %.1f / %.1f / %.1f", s->cpu_pressure, s->memory_pressure,
                              s->io_pressure);
        else if (pressure)
                (void)fputs("  -", f);
}

char *metrics_table(const struct metrics_row *rows, size_t n, const char *end)
{
        bool pressure = false;
        char *text = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&text, &len);
        int width = 2;

        if (!f)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                int id = (int)strlen(rows[i].id);

                width = id > width ? id : width;
                pressure = pressure || rows[i].now.has_pressure;
        }
        (void)fprintf(f, "%-*s  %7s  %-20s  %6s  %-13s  %-20s  %9s%s%s", width, "ID", "CPU",
                      "MEMORY / LIMIT", "MEMORY", "PIDS / LIMIT", "READ / WRITTEN", "THROTTLED",
                      pressure ? "  CPU / MEMORY / IO PRESSURE" : "", end);
        for (size_t i = 0; i < n; i++) {
                print_row(f, width, &rows[i], pressure);
                (void)fputs(end, f);
        }
        if (fclose(f) == 0)
                return text;
        free(text);
        return NULL;
}
