/* SPDX-License-Identifier: Apache-2.0
 *
 * The annexes of the areas (keep.h): room for what is large, and seldom. They are in a file of
 * their own, since the memory that the owner gives has no room to grow: a memfd that is there while
 * any connection has its annex mapped, whose descriptor is in the head. A version that knows
 * nothing of it closes it; so it is known by its inode, too, and one that is found has been this
 * package's all the time. An annex is mapped while something is in it, and until the loop has time
 * to trim.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/keep_store.h"

_Static_assert(sizeof(struct keep_annex) % 4096 == 0, "annexes are whole pages");

static off_t annex_at(unsigned slot)
{
        return (off_t)slot * (off_t)sizeof(struct keep_annex);
}

/* ---- The file ---- */

/* What is in the area's annex: a frame, a ring, or both. */
static unsigned has_annex(const struct keep_area *area)
{
        return (LOOK(&area->in_large) == KEEP_IN_ANNEX) + (LOOK(&area->out_large) == KEEP_IN_ANNEX);
}

static void count_in_annexes(struct ttrpc_keep *keep, unsigned before, unsigned now)
{
        keep->n_in_annexes += now - before;
        ttrpc_keep_publish_layout(keep);
}

static bool file_reaches(int fd, off_t end)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_size >= end;
}

static void annexes_make(struct ttrpc_keep *keep)
{
        _cleanup_close_ int fd = memfd_create("belay-annexes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct keep_annexes *annexes = head_annexes(keep->head);
        struct stat st;

        if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0 || fstat(fd, &st) < 0)
                return;
        annexes->layout = KEEP_ANNEX_LAYOUT;
        PUBLISH(&annexes->inode, st.st_ino);
        PUBLISH(&annexes->fd, fd + 1);
        keep->annexes_fd = TAKE_FD(fd);
        keep->owns_annexes = true;
}

void ttrpc_keep_annexes_found(struct ttrpc_keep *keep)
{
        const struct keep_annexes *annexes = head_annexes(keep->head);
        int fd = LOOK(&annexes->fd) - 1;
        int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || annexes->layout != KEEP_ANNEX_LAYOUT ||
            fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != LOOK(&annexes->inode))
                return;
        keep->annexes_fd = fd;
}

/* What the image before has left in annexes that are no connection's is given back. */
void ttrpc_keep_annexes_own(struct ttrpc_keep *keep)
{
        unsigned n = 0;

        keep->owns_annexes = keep->annexes_fd >= 0;
        if (!keep->owns_annexes)
                PUBLISH(&head_annexes(keep->head)->fd, 0);
        else
                (void)fcntl(keep->annexes_fd, F_SETFD, FD_CLOEXEC);
        for (unsigned i = 0; keep->owns_annexes && i < keep->head->n_areas &&
                             file_reaches(keep->annexes_fd, annex_at(i + 1));
             i++) {
                if (ttrpc_keep_is_taken(keep, i) && has_annex(&keep->areas[i]))
                        n += has_annex(&keep->areas[i]);
                else
                        (void)fallocate(keep->annexes_fd,
                                        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, annex_at(i),
                                        (off_t)sizeof(struct keep_annex));
        }
        keep->n_in_annexes = 0;
        count_in_annexes(keep, 0, n);
        if (keep->n_mapped == 0)
                ttrpc_keep_annexes_close(keep);
}

void ttrpc_keep_annexes_close(struct ttrpc_keep *keep)
{
        if (!keep->owns_annexes)
                return;
        PUBLISH(&head_annexes(keep->head)->fd, 0);
        keep->annexes_fd = fd_close(keep->annexes_fd);
        keep->owns_annexes = false;
}

/* ---- One annex ---- */

static int annex_map(struct ttrpc_kept *kept)
{
        void *annex =
                mmap(NULL, sizeof(*kept->annex), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                     kept->keep->annexes_fd, annex_at(kept->slot));

        if (annex == MAP_FAILED)
                return -errno;
        /* As the vault's (pkg/state): a child cannot harm it, a core file does not fill its holes.
         */
        if (madvise(annex, sizeof(*kept->annex), MADV_DONTFORK) < 0) {
                int r = -errno;

                (void)munmap(annex, sizeof(*kept->annex));
                return r;
        }
        (void)madvise(annex, sizeof(*kept->annex), MADV_NOHUGEPAGE);
        (void)madvise(annex, sizeof(*kept->annex), MADV_DONTDUMP);
        kept->annex = annex;
        kept->keep->n_mapped++;
        return 0;
}

struct keep_annex *ttrpc_kept_annex(struct ttrpc_kept *kept)
{
        struct ttrpc_keep *keep = kept->keep;
        off_t end = annex_at(kept->slot + 1);

        if (kept->annex || !keep->wants_annexes)
                return kept->annex;
        if (keep->annexes_fd < 0)
                annexes_make(keep);
        if (keep->annexes_fd < 0 ||
            (!file_reaches(keep->annexes_fd, end) && ftruncate(keep->annexes_fd, end) < 0) ||
            annex_map(kept) < 0)
                return NULL;
        return kept->annex;
}

bool ttrpc_kept_annex_reserve(const struct ttrpc_kept *kept, const void *at, size_t len)
{
        ptrdiff_t offset = (const uint8_t *)at - (const uint8_t *)kept->annex;
        int r;

        if (len == 0)
                return true;
        do {
                r = fallocate(kept->keep->annexes_fd, FALLOC_FL_KEEP_SIZE,
                              annex_at(kept->slot) + (off_t)offset, (off_t)len);
        } while (r < 0 && errno == EINTR);
        return r == 0;
}

/* All that was read belongs to one frame, of which no more was read. */
static bool in_is_sound(const struct ttrpc_keep *keep, unsigned slot)
{
        const off_t at = annex_at(slot);
        uint8_t header[TTRPC_HEADER_SIZE];
        uint64_t len = 0;

        return pread(keep->annexes_fd, &len, sizeof(len),
                     at + (off_t)offsetof(struct keep_annex, in_len)) == (ssize_t)sizeof(len) &&
               pread(keep->annexes_fd, header, sizeof(header),
                     at + (off_t)offsetof(struct keep_annex, in)) == (ssize_t)sizeof(header) &&
               len >= TTRPC_HEADER_SIZE &&
               len <= TTRPC_HEADER_SIZE + (uint64_t)ttrpc_frame_decode(header).length;
}

bool ttrpc_keep_is_whole(const struct ttrpc_keep *keep, unsigned slot)
{
        const struct keep_area *area = &keep->areas[slot];

        if (!ttrpc_area_is_whole(area))
                return false;
        if (!has_annex(area))
                return true;
        return keep->annexes_fd >= 0 && file_reaches(keep->annexes_fd, annex_at(slot + 1)) &&
               (LOOK(&area->in_large) != KEEP_IN_ANNEX || in_is_sound(keep, slot));
}

int ttrpc_kept_annex_found(struct ttrpc_kept *kept, struct error *err)
{
        int r = has_annex(kept->area) ? annex_map(kept) : 0;

        return r < 0 ? error_errno(err, -r, "ttrpc: map what is large of a kept connection") : 0;
}

void ttrpc_kept_annex_unmap(struct ttrpc_kept *kept)
{
        if (!kept->annex)
                return;
        (void)munmap(kept->annex, sizeof(*kept->annex));
        kept->annex = NULL;
        kept->keep->n_mapped--;
}

void ttrpc_kept_place(struct ttrpc_kept *kept, _Atomic uint32_t *which, enum keep_place place)
{
        struct ttrpc_keep *keep = kept->keep;
        unsigned before = has_annex(kept->area);

        /* Whoever finds something in an annex is to know that there are any. */
        if (place == KEEP_IN_ANNEX)
                count_in_annexes(keep, 0, 1);
        PUBLISH(which, place);
        if (place == KEEP_IN_ANNEX)
                keep->n_in_annexes--;
        if (keep->wants_annexes)
                count_in_annexes(keep, before, has_annex(kept->area));
}

void ttrpc_kept_annex_free(struct ttrpc_kept *kept)
{
        if (!kept->annex)
                return;
        count_in_annexes(kept->keep, has_annex(kept->area), 0);
        (void)madvise(kept->annex, sizeof(*kept->annex), MADV_REMOVE);
        ttrpc_kept_annex_unmap(kept);
        if (kept->keep->n_mapped == 0)
                ttrpc_keep_annexes_close(kept->keep);
}

void ttrpc_kept_annex_trim(struct ttrpc_kept *kept)
{
        if (!has_annex(kept->area))
                ttrpc_kept_annex_free(kept);
}
