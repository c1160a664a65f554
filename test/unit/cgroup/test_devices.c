/* SPDX-License-Identifier: Apache-2.0
 *
 * Device rules as a program: a small interpreter runs what was generated, beside the plain meaning
 * of the rules, for every device and access that could tell them apart.
 */
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/devices.h"

#include "test/unit/unit.h"

enum { INSNS_MAX = 4096, STEPS_MAX = 100000 };

/* The instructions that are in use; anything else fails the test. */
static int run(const struct bpf_insn *insns, size_t n, struct bpf_cgroup_dev_ctx ctx)
{
        uint64_t reg[11] = {0};
        size_t pc = 0;

        for (int step = 0; step < STEPS_MAX; step++) {
                const struct bpf_insn *i = &insns[pc];
                uint64_t imm = (uint64_t)(int64_t)i->imm;
                uint32_t word;

                assert_true(pc < n);
                pc++;
                switch (i->code) {
                case BPF_LDX | BPF_MEM | BPF_W:
                        assert_int_equal(i->src_reg, BPF_REG_1);
                        assert_in_range(i->off, 0, sizeof(ctx) - sizeof(word));
                        memcpy(&word, (char *)&ctx + i->off, sizeof(word));
                        reg[i->dst_reg] = word;
                        break;
                case BPF_ALU64 | BPF_MOV | BPF_X:
                        reg[i->dst_reg] = reg[i->src_reg];
                        break;
                case BPF_ALU64 | BPF_MOV | BPF_K:
                        reg[i->dst_reg] = imm;
                        break;
                case BPF_ALU64 | BPF_AND | BPF_K:
                        reg[i->dst_reg] &= imm;
                        break;
                case BPF_ALU64 | BPF_RSH | BPF_K:
                        reg[i->dst_reg] >>= imm;
                        break;
                case BPF_JMP | BPF_JNE | BPF_K:
                        pc += reg[i->dst_reg] != imm ? (size_t)i->off : 0;
                        break;
                case BPF_JMP | BPF_JSET | BPF_K:
                        pc += reg[i->dst_reg] & imm ? (size_t)i->off : 0;
                        break;
                case BPF_JMP | BPF_JA:
                        pc += (size_t)i->off;
                        break;
                case BPF_JMP | BPF_EXIT:
                        return (int)reg[BPF_REG_0];
                default:
                        fail_msg("unknown instruction 0x%x", i->code);
                }
        }
        fail_msg("the program does not end");
        return -1;
}

/* Each kind of access by itself: the last rule that speaks of it decides. */
static int meant(const struct oci_device_rule *rules, size_t n, struct bpf_cgroup_dev_ctx ctx)
{
        char type = (ctx.access_type & 0xffff) == BPF_DEVCG_DEV_BLOCK ? 'b' : 'c';

        for (unsigned bit = 1; bit <= 4; bit <<= 1) {
                bool allow = false;

                if (!(ctx.access_type >> 16 & bit))
                        continue;
                for (size_t i = 0; i < n; i++) {
                        const struct oci_device_rule *r = &rules[i];
                        bool speaks = bit == BPF_DEVCG_ACC_MKNOD  ? r->mknod
                                      : bit == BPF_DEVCG_ACC_READ ? r->read
                                                                  : r->write;

                        if (speaks && (r->type == 'a' || r->type == type) &&
                            (r->major < 0 || (uint32_t)r->major == ctx.major) &&
                            (r->minor < 0 || (uint32_t)r->minor == ctx.minor))
                                allow = r->allow;
                }
                if (!allow)
                        return 0;
        }
        return 1;
}

static void assert_program_means(const struct oci_device_rule *rules, size_t n)
{
        static struct bpf_insn insns[INSNS_MAX];
        size_t n_insns;

        assert_true(DEVICE_BPF_INSNS_MAX(n) <= INSNS_MAX);
        n_insns = devices_bpf_generate(rules, n, insns);
        for (uint32_t major = 0; major < 4; major++) {
                for (uint32_t minor = 0; minor < 4; minor++) {
                        for (uint32_t access = 1; access < 8; access++) {
                                for (uint32_t type = 1; type <= 2; type++) {
                                        struct bpf_cgroup_dev_ctx ctx = {
                                                .access_type = access << 16 | type,
                                                .major = major,
                                                .minor = minor,
                                        };

                                        assert_int_equal(run(insns, n_insns, ctx),
                                                         meant(rules, n, ctx));
                                }
                        }
                }
        }
}

static unsigned next_random(unsigned *seed)
{
        *seed = *seed * 1103515245u + 12345u;
        return *seed >> 16;
}

static void programs_of_random_rules_mean_what_the_rules_mean(void **state)
{
        unsigned seed = 7;

        for (int round = 0; round < 300; round++) {
                struct oci_device_rule rules[12];
                size_t n = next_random(&seed) % 13;

                for (size_t i = 0; i < n; i++) {
                        rules[i] = (struct oci_device_rule){
                                .allow = next_random(&seed) & 1,
                                .type = "abcbc"[next_random(&seed) % 5],
                                .major = (int64_t)(next_random(&seed) % 5) - 1,
                                .minor = (int64_t)(next_random(&seed) % 5) - 1,
                                .read = next_random(&seed) & 1,
                                .write = next_random(&seed) & 1,
                                .mknod = next_random(&seed) & 1,
                        };
                }
                assert_program_means(rules, n);
        }
}

static void the_instructions_of_one_rule_are_these(void **state)
{
        const struct oci_device_rule rule = {
                .allow = true, .type = 'c', .major = 1, .minor = 3, .read = true};
        const struct bpf_insn want[] = {
                {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 0},
                {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 2},
                {.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = 2, .imm = 0xffff},
                {.code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 3, .imm = 16},
                {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 4, .src_reg = 1, .off = 4},
                {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 5, .src_reg = 1, .off = 8},
                {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 2, .off = 6, .imm = 2},
                {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 4, .off = 5, .imm = 1},
                {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 5, .off = 4, .imm = 3},
                {.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = 3, .imm = 5},
                {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 3, .off = 2, .imm = 0},
                {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
                {.code = BPF_JMP | BPF_EXIT},
                {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
                {.code = BPF_JMP | BPF_EXIT},
        };
        struct bpf_insn got[DEVICE_BPF_INSNS_MAX(1)] = {0};

        assert_int_equal(devices_bpf_generate(&rule, 1, got), UNIT_COUNT(want));
        assert_memory_equal(got, want, sizeof(want));
}

static void a_rule_for_everything_ends_the_program(void **state)
{
        const struct oci_device_rule rules[] = {
                {.allow = true, .type = 'c', .major = 1, .minor = 3, .read = true},
                {.type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true},
        };
        struct bpf_insn got[DEVICE_BPF_INSNS_MAX(2)];

        assert_int_equal(devices_bpf_generate(rules, 2, got), 8);
        assert_int_equal(got[6].imm, 0);
        assert_int_equal(devices_bpf_generate(rules, 0, got), 8);
}

/* What a container may open in the end. */
static int may(const struct oci_device_rule *rules, size_t n, char type, uint32_t major,
               uint32_t minor, unsigned access)
{
        return meant(rules, n,
                     (struct bpf_cgroup_dev_ctx){.access_type = access << 16 |
                                                                (type == 'b' ? BPF_DEVCG_DEV_BLOCK
                                                                             : BPF_DEVCG_DEV_CHAR),
                                                 .major = major,
                                                 .minor = minor});
}

static void without_rules_a_container_may_use_the_usual_devices(void **state)
{
        const unsigned rw = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
        struct oci_device_rule *rules;
        struct error err = ERROR_INIT;
        size_t n;

        assert_int_equal(devices_rules(NULL, 0, &rules, &n, &err), 0);
        assert_true(device_rule_is_everything(&rules[0]));
        assert_false(rules[0].allow);
        for (uint32_t minor = 0; minor < 16; minor++)
                assert_int_equal(may(rules, n, 'c', 1, minor, rw),
                                 minor == 3 || minor == 5 || (minor >= 7 && minor <= 9));
        assert_true(may(rules, n, 'c', 5, 0, rw));
        assert_false(may(rules, n, 'c', 5, 1, rw));
        assert_true(may(rules, n, 'c', 5, 2, rw));
        assert_true(may(rules, n, 'c', 136, 77, rw));
        assert_true(may(rules, n, 'b', 8, 0, BPF_DEVCG_ACC_MKNOD));
        assert_false(may(rules, n, 'b', 8, 0, BPF_DEVCG_ACC_READ));
        assert_false(may(rules, n, 'c', 10, 229, rw));
        free(rules);
}

static void rules_of_the_document_stand_between_denial_and_defaults(void **state)
{
        const struct oci_device_rule user[] = {
                {.allow = true,
                 .type = 'c',
                 .major = 10,
                 .minor = 229,
                 .read = true,
                 .write = true},
                {.type = 'c', .major = 1, .minor = 3, .read = true, .write = true, .mknod = true},
        };
        struct oci_device_rule *rules;
        struct error err = ERROR_INIT;
        size_t n;

        assert_int_equal(devices_rules(user, 2, &rules, &n, &err), 0);
        assert_memory_equal(&rules[1], user, sizeof(user));
        assert_true(may(rules, n, 'c', 10, 229, BPF_DEVCG_ACC_READ));
        assert_true(may(rules, n, 'c', 1, 3, BPF_DEVCG_ACC_READ)); /* null cannot be taken away */
        free(rules);
}

static void bad_rules_are_refused_with_their_number(void **state)
{
        struct oci_device_rule user[2] = {{.type = 'c', .major = -1, .minor = -1},
                                          {.type = 'p', .major = -1, .minor = -1}};
        struct oci_device_rule *rules;
        struct error err = ERROR_INIT;
        size_t n;

        assert_int_equal(devices_rules(user, 2, &rules, &n, &err), -1);
        assert_non_null(strstr(err.msg, "linux.resources.devices[1]"));
        user[1].type = 'b';
        user[1].major = INT64_C(1) << 40;
        assert_int_equal(devices_rules(user, 2, &rules, &n, &err), -1);
        assert_non_null(strstr(err.msg, "out of range"));
        assert_int_equal(devices_rules(user, 100000, &rules, &n, &err), -1);
        assert_non_null(strstr(err.msg, "more than"));
}

static void rules_are_written_as_v1_reads_them(void **state)
{
        const struct oci_device_rule rule = {
                .type = 'c', .major = 136, .minor = -1, .read = true, .mknod = true};
        char text[DEVICE_RULE_TEXT_MAX];

        device_rule_format(&rule, 'c', text);
        assert_string_equal(text, "c 136:* rm");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(programs_of_random_rules_mean_what_the_rules_mean),
                cmocka_unit_test(the_instructions_of_one_rule_are_these),
                cmocka_unit_test(a_rule_for_everything_ends_the_program),
                cmocka_unit_test(without_rules_a_container_may_use_the_usual_devices),
                cmocka_unit_test(rules_of_the_document_stand_between_denial_and_defaults),
                cmocka_unit_test(bad_rules_are_refused_with_their_number),
                cmocka_unit_test(rules_are_written_as_v1_reads_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
