/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiling a usual profile takes 1 to 9 ms, at every Create, and gives the same filter each time.
 *
 * Why it is sound to take a filter from a file:
 * - The profile itself is read and checked at every Create. Only the last step, from libseccomp's
 *   terms to BPF, is left out, and the key is a hash of all that this step is given, of
 *   libseccomp's version, and of the binary that runs. So no profile can be given another's filter,
 *   and an update of belay or of the libseccomp in it starts anew. Nothing but instructions is
 *   kept: flags come from the profile.
 * - The folder and the file must belong to us and be closed to everyone else; no link is followed.
 *   Who can write there is root on the host, and could as well replace this binary; a container
 *   that was given the host's /run has containerd's socket, too. No process of the new container
 *   is near: this runs in the stage, before there is one.
 * - A file is believed only if its size, its key and a checksum over all of it are right. It
 *   appears by rename, whole or not at all. That is against accidents, not against root.
 * - Whatever is wrong, the answer is "not found", and the filter is compiled. There is no way from
 *   here to a container without its filter, and the kernel checks what it is given as ever.
 */
#include "pkg/engine/seccomp_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

/* To be changed with the way in which seccomp.c and seccomp_join.c make a filter. */
#define COMPILER_VERSION "belay seccomp filter 3"

static const char file_magic[8] = "belayBPF";

struct file_header {
        char magic[8];
        struct seccomp_key key;
        uint8_t checksum[SHA256_DIGEST_LENGTH]; /* of the key and the instructions */
        uint64_t n;                             /* instructions that follow */
};

enum { NAME_BYTES = 2 * sizeof(struct seccomp_key) + 1 };

/* ---- the key ---- */

static void add_u64(SHA2_CTX *sha, uint64_t value)
{
        SHA256Update(sha, (const uint8_t *)&value, sizeof(value));
}

static void add_rule(SHA2_CTX *sha, const struct seccomp_rule *rule)
{
        add_u64(sha, rule->action);
        add_u64(sha, (rule->is_default ? 1u : 0) | (rule->is_split ? 2u : 0));
        add_u64(sha, rule->n_args);
        for (unsigned i = 0; i < rule->n_args; i++) {
                const struct scmp_arg_cmp *arg = &rule->args[i];

                add_u64(sha, arg->arg);
                add_u64(sha, arg->op);
                add_u64(sha, arg->datum_a);
                add_u64(sha, arg->datum_b);
        }
        add_u64(sha, rule->n_numbers);
        SHA256Update(sha, (const uint8_t *)rule->numbers, rule->n_numbers * sizeof(*rule->numbers));
}

/* Distributions mend libraries without a new version. In a static program the library is a part of
 * the file, and files that differ differ in these. A sealed copy in memory has no such identity. */
static bool add_program(SHA2_CTX *sha)
{
        struct stat st;

        if (stat("/proc/self/exe", &st) < 0 || st.st_nlink == 0)
                return false;
        add_u64(sha, st.st_dev);
        add_u64(sha, st.st_ino);
        add_u64(sha, (uint64_t)st.st_size);
        add_u64(sha, (uint64_t)st.st_mtim.tv_sec);
        add_u64(sha, (uint64_t)st.st_mtim.tv_nsec);
        add_u64(sha, (uint64_t)st.st_ctim.tv_sec);
        add_u64(sha, (uint64_t)st.st_ctim.tv_nsec);
        return true;
}

bool seccomp_key_make(const struct seccomp_input *input, struct seccomp_key *ret)
{
        const struct scmp_version *library = seccomp_version();
        struct seccomp_key key;
        SHA2_CTX sha;

        SHA256Init(&sha);
        SHA256Update(&sha, (const uint8_t *)COMPILER_VERSION, sizeof(COMPILER_VERSION));
        if (!library || !add_program(&sha))
                return false;
        add_u64(&sha, library->major);
        add_u64(&sha, library->minor);
        add_u64(&sha, library->micro);
        add_u64(&sha, input->n_tokens);
        for (size_t i = 0; i < input->n_tokens; i++)
                add_u64(&sha, input->tokens[i]);
        add_u64(&sha, input->default_action);
        add_u64(&sha, input->n_rules);
        for (size_t i = 0; i < input->n_rules; i++)
                add_rule(&sha, &input->rules[i]);
        SHA256Final(key.bytes, &sha);
        *ret = key;
        return true;
}

/* ---- the folder ---- */

static bool is_ours_alone(const struct stat *st, mode_t type)
{
        return (st->st_mode & S_IFMT) == type && st->st_uid == geteuid() &&
               (st->st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

int seccomp_cache_open(const char *path)
{
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT && (mkdir(path, 0700) == 0 || errno == EEXIST))
                fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || !is_ours_alone(&st, S_IFDIR))
                return -1;
        return TAKE_FD(fd);
}

static void name_format(const struct seccomp_key *key, char name[NAME_BYTES])
{
        for (size_t i = 0; i < sizeof(key->bytes); i++)
                (void)snprintf(name + 2 * i, 3, "%02x", key->bytes[i]);
}

static void checksum_make(const struct seccomp_key *key, const struct sock_filter *filter, size_t n,
                          uint8_t ret[SHA256_DIGEST_LENGTH])
{
        SHA2_CTX sha;

        SHA256Init(&sha);
        SHA256Update(&sha, key->bytes, sizeof(key->bytes));
        SHA256Update(&sha, (const uint8_t *)filter, n * sizeof(*filter));
        SHA256Final(ret, &sha);
}

/* ---- find ---- */

static bool read_exactly(int fd, void *buf, size_t len)
{
        return read(fd, buf, len) == (ssize_t)len;
}

/* False, too, if there is no memory, which is not the file's fault but rare. */
static bool read_filter(int fd, const struct seccomp_key *key, struct arena *arena,
                        struct sock_fprog *ret)
{
        struct file_header header;
        struct sock_filter *filter;
        uint8_t checksum[SHA256_DIGEST_LENGTH];
        struct stat st;

        if (fstat(fd, &st) < 0 || !is_ours_alone(&st, S_IFREG) ||
            !read_exactly(fd, &header, sizeof(header)) ||
            memcmp(header.magic, file_magic, sizeof(file_magic)) != 0 ||
            memcmp(&header.key, key, sizeof(*key)) != 0 || header.n == 0 ||
            header.n > BPF_MAXINSNS ||
            (uint64_t)st.st_size != sizeof(header) + header.n * sizeof(*filter))
                return false;
        filter = arena_calloc(arena, header.n, sizeof(*filter));
        if (!filter || !read_exactly(fd, filter, header.n * sizeof(*filter)))
                return false;
        checksum_make(key, filter, header.n, checksum);
        if (memcmp(checksum, header.checksum, sizeof(checksum)) != 0)
                return false;
        *ret = (struct sock_fprog){.len = (unsigned short)header.n, .filter = filter};
        return true;
}

bool seccomp_cache_find(int dir, const struct seccomp_key *key, struct arena *arena,
                        struct sock_fprog *ret)
{
        _cleanup_close_ int fd = -1;
        char name[NAME_BYTES];

        name_format(key, name);
        fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return false;
        if (read_filter(fd, key, arena, ret))
                return true;
        (void)unlinkat(dir, name, 0);
        return false;
}

/* ---- keep ---- */

static bool is_older(const struct timespec *a, const struct timespec *b)
{
        return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Counts what is there, leftovers of stages that were killed included, and names the oldest. */
static size_t count_files(int dir, char oldest[NAME_MAX + 1])
{
        _cleanup_closedir_ DIR *d = NULL;
        struct timespec oldest_time = {0};
        size_t n = 0;
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                fd_close(fd);
                return SIZE_MAX;
        }
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                struct stat st;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
                    fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (n++ > 0 && !is_older(&st.st_mtim, &oldest_time))
                        continue;
                oldest_time = st.st_mtim;
                (void)snprintf(oldest, NAME_MAX + 1, "%s", e->d_name);
        }
        return n;
}

/* More than one is too many only after many stages came here at once. */
static bool make_room(int dir)
{
        enum { TRIES_MAX = 8 };
        char oldest[NAME_MAX + 1];

        for (int i = 0; i < TRIES_MAX; i++) {
                size_t n = count_files(dir, oldest);

                if (n < SECCOMP_CACHE_FILES_MAX)
                        return true;
                if (n == SIZE_MAX || (unlinkat(dir, oldest, 0) < 0 && errno != ENOENT))
                        return false;
        }
        return false;
}

void seccomp_cache_keep(int dir, const struct seccomp_key *key, const struct sock_fprog *prog)
{
        struct {
                struct file_header header;
                struct sock_filter filter[BPF_MAXINSNS];
        } * file;
        _cleanup_free_ void *room = NULL;
        char name[NAME_BYTES];

        if (prog->len == 0 || prog->len > BPF_MAXINSNS || !make_room(dir))
                return;
        room = malloc(sizeof(*file));
        if (!room)
                return;
        file = room;
        file->header = (struct file_header){.key = *key, .n = prog->len};
        memcpy(file->header.magic, file_magic, sizeof(file_magic));
        memcpy(file->filter, prog->filter, prog->len * sizeof(*prog->filter));
        checksum_make(key, prog->filter, prog->len, file->header.checksum);
        name_format(key, name);
        (void)file_write_atomic(dir, name, file,
                                sizeof(file->header) + prog->len * sizeof(*prog->filter), 0600);
}
