/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int errno_of(long nr)
{
        return syscall(nr, "/x", 0) < 0 ? errno : 0;
}

int main(void)
{
        printf("mkdir %d 5000 %d\n", errno_of(SYS_mkdir), errno_of(5000));
        return 0;
}
