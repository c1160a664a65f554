/* SPDX-License-Identifier: Apache-2.0
 *
 * See dialog.h. It is over when the shim has ended the stream and all output is written, or when a
 * signal says so. After the detach keys our side of the stream is closed, and the shim has a moment
 * to end the other: what was typed before the keys is then with the container.
 */
#include "cmd/belay/dialog.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/clock.h"

#include "cmd/belay/sink.h"
#include "cmd/belay/source.h"
#include "cmd/belay/terminal.h"

#define LEAVE_TIMEOUT_NS (UINT64_C(1) * NSEC_PER_SEC)

enum {
        INTERRUPTS_UNTIL_KILL = 3, /* as in session.c */
        INPUT_ROOM = 256,          /* of the stream, what a message costs beside its bytes */
};

static const int handled[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT,
                              SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP};

enum { N_HANDLED = sizeof(handled) / sizeof(handled[0]) };

struct dialog {
        const struct dialog_config *config;
        struct ttrpc_client_stream *stream;
        struct source *input;
        struct sink *out;
        struct sink *err_out;
        struct loop_signal *signals[N_HANDLED];
        struct loop_timer *leave_timer;
        struct terminal terminal;
        bool has_terminal; /* the process */
        bool started;
        bool input_ended; /* and the shim knows */
        bool leaving;
        bool gone; /* the shim has not ended the stream in time */
        bool ended;
        bool exited;
        bool failed;
        int signo; /* that ended it */
        int n_interrupts;
        uint64_t granted;
        uint32_t status;
        struct error err;
};

static bool is_over(const struct dialog *d)
{
        return d->failed || d->gone || d->signo != 0 ||
               (d->ended && sink_is_empty(d->out) && sink_is_empty(d->err_out));
}

static void fail(struct dialog *d, const struct error *err)
{
        d->failed = true;
        d->err = *err;
        loop_quit(d->config->loop);
}

static void say(struct dialog *d, const struct dialog_word *word)
{
        /* What the shim has no room for now is lost, and so is what it no longer hears. */
        if (!d->ended && !d->leaving)
                (void)d->config->wire->send(d->stream, word, NULL);
}

static void say_size(struct dialog *d)
{
        struct dialog_word word = {.what = DIALOG_RESIZE};

        if (d->started && d->has_terminal && terminal_size(&word.width, &word.height))
                say(d, &word);
}

static void leave(struct dialog *d)
{
        if (d->leaving || d->ended)
                return;
        d->leaving = true;
        terminal_restore(&d->terminal);
        ttrpc_client_stream_half_close(d->stream);
        task_pause(d->config->task, false);
        if (loop_timer_set(d->leave_timer, LEAVE_TIMEOUT_NS) < 0) {
                d->gone = true;
                loop_quit(d->config->loop);
        }
}

static void on_leave_timeout(struct loop_timer *timer, void *userdata)
{
        struct dialog *d = userdata;

        (void)timer;
        d->gone = true;
        loop_quit(d->config->loop);
}

/* ---- Input ---- */

static size_t min_size(size_t a, size_t b)
{
        return a < b ? a : b;
}

static void send_input(struct dialog *d)
{
        for (;;) {
                struct dialog_word word = {.what = DIALOG_INPUT};
                size_t room = ttrpc_client_stream_room(d->stream);

                word.data = source_bytes(d->input, &word.len);
                word.len = min_size(word.len, room > INPUT_ROOM ? room - INPUT_ROOM : 0);
                if (word.len > d->granted)
                        word.len = (size_t)d->granted;
                if (word.len == 0 || d->config->wire->send(d->stream, &word, NULL) < 0)
                        return;
                d->granted -= word.len;
                source_take(d->input, word.len);
        }
}

static void on_input(void *userdata)
{
        static const struct dialog_word end = {.what = DIALOG_END_INPUT};
        struct dialog *d = userdata;
        size_t len;

        if (!d->input || d->leaving || d->ended)
                return;
        send_input(d);
        if (source_is_detach(d->input)) {
                leave(d);
                return;
        }
        (void)source_bytes(d->input, &len);
        if (source_has_ended(d->input) && len == 0 && d->config->ends_input && !d->input_ended)
                d->input_ended = d->config->wire->send(d->stream, &end, NULL) == 0;
        source_want(d->input, d->granted > 0);
}

/* ---- Output ---- */

static void break_off(struct dialog *d, int errnum)
{
        struct error err = ERROR_INIT;

        if (errnum == EPIPE) {
                d->signo = SIGPIPE;
                loop_quit(d->config->loop);
        } else if (errnum != 0) {
                (void)error_errno(&err, errnum, "write the output");
                fail(d, &err);
        }
}

static void on_written(void *userdata)
{
        struct dialog *d = userdata;
        bool is_full = sink_is_full(d->out) || sink_is_full(d->err_out);

        if (!d->config->owns_process) {
                break_off(d, sink_errno(d->out));
                break_off(d, sink_errno(d->err_out));
        }
        if (!d->leaving)
                task_pause(d->config->task, is_full);
        if (is_over(d))
                loop_quit(d->config->loop);
}

static void on_output(struct dialog *d, const struct dialog_event *event)
{
        struct error err = ERROR_INIT;

        if (d->leaving)
                return;
        if (sink_write(event->is_stderr ? d->err_out : d->out, event->data, event->len, &err) < 0)
                fail(d, &err);
        else
                on_written(d);
}

/* ---- The stream ---- */

static void on_started(struct dialog *d, const struct dialog_event *event)
{
        struct error err = ERROR_INIT;

        if (d->started)
                return;
        d->started = true;
        d->has_terminal = d->config->terminal || event->terminal;
        if (d->has_terminal && d->config->input)
                terminal_set_raw(&d->terminal);
        say_size(d);
        if (!d->config->input)
                return;
        if (source_new(&d->input, d->config->loop, STDIN_FILENO, d->config->keys, on_input, d,
                       &err) < 0)
                fail(d, &err);
        else
                on_input(d);
}

static void on_exit_event(struct dialog *d, const struct dialog_event *event)
{
        struct error err = ERROR_INIT;

        d->exited = true;
        d->status = event->exit_status;
        if (event->error && event->error[0]) {
                (void)error_set(&err, STATUS_UNKNOWN, "%s", event->error);
                fail(d, &err);
        }
}

static void on_message(struct ttrpc_client_stream *stream, const ProtobufCMessage *message,
                       void *userdata)
{
        struct dialog *d = userdata;
        struct dialog_event event = d->config->wire->read(message);

        (void)stream;
        switch (event.what) {
        case DIALOG_STARTED:
                on_started(d, &event);
                break;
        case DIALOG_OUTPUT:
                on_output(d, &event);
                break;
        case DIALOG_GRANT:
                d->granted += event.granted;
                on_input(d);
                break;
        case DIALOG_EXIT:
                on_exit_event(d, &event);
                break;
        case DIALOG_NOTHING:
                break;
        }
}

static void on_end(struct ttrpc_client_stream *stream, const struct error *err, void *userdata)
{
        struct error early = ERROR_INIT;
        struct dialog *d = userdata;

        (void)stream;
        d->ended = true;
        if (d->failed)
                return;
        if (d->leaving) {
                loop_quit(d->config->loop);
        } else if (err && !d->exited) {
                fail(d, err);
        } else if (!d->exited) {
                (void)error_set(&early, STATUS_UNAVAILABLE, "the shim has broken it off");
                fail(d, &early);
        } else if (is_over(d)) {
                loop_quit(d->config->loop);
        }
}

static void on_room(struct ttrpc_client_stream *stream, void *userdata)
{
        (void)stream;
        on_input(userdata);
}

static const struct ttrpc_client_stream_ops stream_ops = {
        .on_message = on_message,
        .on_end = on_end,
        .on_room = on_room,
};

/* ---- Signals ---- */

/* As if the terminal were ours alone again while we are stopped. */
static void stop_ourselves(struct dialog *d)
{
        bool was_raw = d->terminal.raw;

        terminal_restore(&d->terminal);
        (void)kill(getpid(), SIGSTOP);
        if (was_raw)
                terminal_set_raw(&d->terminal);
        say_size(d);
}

static void on_signal(int signo, void *userdata)
{
        struct dialog *d = userdata;
        struct dialog_word word = {.what = DIALOG_SIGNAL, .signo = signo};

        if (signo == SIGWINCH) {
                say_size(d);
        } else if (signo == SIGTSTP) {
                stop_ourselves(d);
        } else if (!d->config->owns_process || !d->started) {
                d->signo = signo;
                loop_quit(d->config->loop);
        } else {
                if (signo == SIGINT && ++d->n_interrupts >= INTERRUPTS_UNTIL_KILL)
                        word.signo = SIGKILL;
                say(d, &word);
        }
}

/* ---- The whole ---- */

static int dialog_begin(struct dialog *d, struct error *err)
{
        const struct dialog_config *config = d->config;

        d->leave_timer = loop_timer_new(config->loop, on_leave_timeout, d);
        if (!d->leave_timer)
                return error_errno(err, ENOMEM, "attach");
        if (sink_new(&d->out, config->loop, STDOUT_FILENO, on_written, d, err) < 0 ||
            sink_new(&d->err_out, config->loop, STDERR_FILENO, on_written, d, err) < 0)
                return -1;
        for (size_t i = 0; i < N_HANDLED; i++) {
                if (loop_signal_new(config->loop, handled[i], LOOP_PRIORITY_RPC, on_signal, d,
                                    &d->signals[i], err) < 0)
                        return -1;
        }
        if (task_stream(config->task, config->wire->method, TTRPC_BIDI_STREAM, NULL,
                        config->options, &stream_ops, d, &d->stream, err) < 0)
                return -1;
        return ttrpc_client_stream_send(d->stream, config->start, err);
}

static void dialog_deinit(struct dialog *d)
{
        terminal_restore(&d->terminal);
        task_pause(d->config->task, false);
        ttrpc_client_stream_free(d->stream);
        source_free(d->input);
        for (size_t i = 0; i < N_HANDLED; i++)
                loop_signal_free(d->signals[i]);
        sink_free(d->out);
        sink_free(d->err_out);
        loop_timer_free(d->leave_timer);
}

static struct dialog_end dialog_result(const struct dialog *d)
{
        if (d->signo != 0)
                return (struct dialog_end){.how = DIALOG_SIGNALED, .status = 128 + d->signo};
        if (d->leaving)
                return (struct dialog_end){.how = DIALOG_DETACHED};
        return (struct dialog_end){.how = DIALOG_EXITED, .status = (int)d->status};
}

int dialog_run(const struct dialog_config *config, struct dialog_end *ret, struct error *err)
{
        struct dialog d = {.config = config, .err = ERROR_INIT};
        int r = dialog_begin(&d, err);

        while (r == 0 && !is_over(&d))
                r = loop_run(config->loop, err);
        dialog_deinit(&d);
        if (r == 0 && d.failed && d.signo == 0) {
                *err = d.err;
                return -1;
        }
        *ret = dialog_result(&d);
        return r;
}
