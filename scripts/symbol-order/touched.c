// Prints the functions that a command runs, in the order of their first call: each gets a breakpoint that is removed when it is met.
// usage: touched SYMBOLS OUT COMMAND...   SYMBOLS has lines "address name", OUT is appended to.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct function { unsigned long address; unsigned char first; int met; char *name; };

static struct function functions[200000];
static int count;

static int compare(const void *a, const void *b)
{
    unsigned long x = ((const struct function *)a)->address, y = ((const struct function *)b)->address;
    return (x > y) - (x < y);
}

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static void read_symbols(const char *path)
{
    static char name[65536];
    unsigned long address;
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    while (count < 200000 && fscanf(file, "%lx %65535s", &address, name) == 2) {
        functions[count].address = address;
        functions[count++].name = strdup(name);
    }
    fclose(file);
    qsort(functions, count, sizeof *functions, compare);
}

static int set_breakpoints(pid_t pid)
{
    char path[64];
    unsigned long base;
    unsigned char trap = 0xcc;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    if (!maps || fscanf(maps, "%lx", &base) != 1) fail(path);
    fclose(maps);
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int memory = open(path, O_RDWR);
    for (int i = 0; i < count; i++) {
        functions[i].address += base;
        if (pread(memory, &functions[i].first, 1, functions[i].address) != 1 || pwrite(memory, &trap, 1, functions[i].address) != 1) fail(path);
    }
    return memory;
}

// Takes the breakpoint away, if it is one of ours, and goes back to the instruction under it. Another thread may have met it already.
static int pass_breakpoint(pid_t thread, int memory, FILE *out)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, 0, &registers) != 0) return 0;
    struct function key = { .address = registers.rip - 1 };
    struct function *found = bsearch(&key, functions, count, sizeof *functions, compare);
    if (!found) return 0;
    if (!found->met) {
        found->met = 1;
        fprintf(out, "%s\n", found->name);
        if (pwrite(memory, &found->first, 1, found->address) != 1) fail("pwrite");
    }
    registers.rip--;
    ptrace(PTRACE_SETREGS, thread, 0, &registers);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    read_symbols(argv[1]);
    FILE *out = fopen(argv[2], "a");
    if (!out) fail(argv[2]);
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[3], argv + 3);
        _exit(127);
    }
    int status, result = 1;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) return 127;
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    int memory = set_breakpoints(pid);
    ptrace(PTRACE_CONT, pid, 0, 0);
    for (pid_t thread; (thread = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
        if (thread < 0) continue;
        if (!WIFSTOPPED(status)) {
            if (thread == pid) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status);
        int is_ours = signal == SIGSTOP || (signal == SIGTRAP && (status >> 16 != 0 || pass_breakpoint(thread, memory, out)));
        ptrace(PTRACE_CONT, thread, 0, is_ours ? 0 : signal);
    }
    fclose(out);
    return result;
}
