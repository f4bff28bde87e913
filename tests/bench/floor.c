/*
 * The floor: the least work that a full jail costs on this kernel, written out by hand.
 *
 * One clone3 into every namespace, an id map, a tmpfs root with /usr read-only, proc, dev and tmp, pivot_root,
 * rlimits, capabilities and securebits, a seccomp allowlist of the usual size, exec, wait, clean up.
 * It is a measuring stick and no sandbox: no Landlock, no init, no self-check, no bounds on what it reads.
 *
 * usage: floor [-n] [-c] COMMAND [ARG...]   or   floor -b
 *   -n   leave out the network namespace
 *   -c   put the jail into cgroup v1 groups for memory, pids and cpu, and remove them afterwards
 *   -b   write the seccomp program to standard output, so that other launchers can be measured with the same one
 * It promises: exit status of COMMAND (128+signal when killed), 125 when a step failed, named on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the product's own host uids start, so that both map the same kind of range. */
#define HOST_UID 0x40000000u
#define RANGE 65536u
#define INSIDE 1000
/* Numbers below this are allowed unless listed as refused: about as many rules as a container allowlist. */
#define LAST_CALL 335

static void fail(const char *step, const char *object)
{
	dprintf(2, "floor: failed at %s on %s: %s\n", step, object, strerror(errno));
	_exit(125);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("write", path);
	close(fd);
}

static void create(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("create", path);
	close(fd);
}

static const char *const controllers[] = { "memory", "pids", "cpu" };
static const char *const limits[][2] = {
	{ "memory.limit_in_bytes", "536870912" },
	{ "pids.max", "128" },
	{ "cpu.cfs_quota_us", "100000" },
};

static void group_path(char *out, size_t size, int i, const char *file)
{
	snprintf(out, size, "/sys/fs/cgroup/%s/floor-%d%s%s", controllers[i], getpid(), *file ? "/" : "", file);
}

/*
 * Opens the files through which the child moves itself. A task that writes 0 to the v1 file `tasks` spares the kernel
 * the lock over all thread groups, which costs milliseconds on a host that was idle; any other move takes it.
 */
static void make_groups(int *tasks)
{
	char path[160];
	for (int i = 0; i < 3; i++) {
		group_path(path, sizeof path, i, "");
		if (mkdir(path, 0755) < 0)
			fail("mkdir", path);
		group_path(path, sizeof path, i, limits[i][0]);
		put(path, limits[i][1]);
		group_path(path, sizeof path, i, "tasks");
		if ((tasks[i] = open(path, O_WRONLY | O_CLOEXEC)) < 0)
			fail("open", path);
	}
}

static void remove_groups(void)
{
	char path[160];
	for (int i = 0; i < 3; i++) {
		group_path(path, sizeof path, i, "");
		if (rmdir(path) < 0)
			fail("rmdir", path);
	}
}

static void map_ids(pid_t child)
{
	char path[64], map[64];
	snprintf(map, sizeof map, "0 %u %u", HOST_UID, RANGE);
	snprintf(path, sizeof path, "/proc/%d/uid_map", child);
	put(path, map);
	snprintf(path, sizeof path, "/proc/%d/gid_map", child);
	put(path, map);
}

static void mount_at(const char *type, const char *target, unsigned long flags, const char *options)
{
	if (mount(type, target, type, flags, options) < 0)
		fail("mount", target);
}

static void bind(const char *from, const char *to, unsigned long long attributes)
{
	struct mount_attr attr = { .attr_set = attributes };
	int tree = syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		fail("open_tree", from);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
		fail("mount_setattr", from);
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		fail("move_mount", to);
	close(tree);
}

static void make_dev(void)
{
	static const char *const nodes[] = { "null", "zero", "full", "random", "urandom" };
	char from[32], to[32];
	mount_at("tmpfs", "dev", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=32,mode=755");
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
		snprintf(from, sizeof from, "/dev/%s", nodes[i]);
		snprintf(to, sizeof to, "dev/%s", nodes[i]);
		create(to, "");
		bind(from, to, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	}
	if (mkdir("dev/shm", 01777) < 0 || symlink("/proc/self/fd", "dev/fd") < 0)
		fail("fill", "dev");
	mount_at("tmpfs", "dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m,nr_inodes=4096,mode=1777");
	if (mount(NULL, "dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) < 0)
		fail("remount", "dev");
}

static void make_root(void)
{
	static const char *const dirs[] = { "usr", "proc", "dev", "tmp", "etc" };
	static const char *const links[] = { "bin", "sbin", "lib", "lib64" };
	char target[32];
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("make private", "/");
	mount_at("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=256,mode=755");
	if (chdir("/tmp") < 0)
		fail("chdir", "/tmp");
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (mkdir(dirs[i], 0755) < 0)
			fail("mkdir", dirs[i]);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(target, sizeof target, "usr/%s", links[i]);
		if (symlink(target, links[i]) < 0)
			fail("symlink", links[i]);
	}
	bind("/usr", "usr", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	create("etc/passwd", "user:x:1000:1000::/tmp:/bin/sh\n");
	create("etc/group", "user:x:1000:\n");
	create("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
	create("etc/resolv.conf", "");
	create("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
	mount_at("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid,hidepid=invisible");
	make_dev();
	mount_at("tmpfs", "tmp", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m,nr_inodes=4096,mode=1777");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/tmp") < 0)
		fail("pivot_root", "/tmp");
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		fail("remount", "/");
}

static void set_limits(void)
{
	static const struct { int what; rlim_t most; } table[] = {
		{ RLIMIT_CORE, 0 }, { RLIMIT_NOFILE, 1024 }, { RLIMIT_MEMLOCK, 65536 }, { RLIMIT_MSGQUEUE, 0 },
		{ RLIMIT_NICE, 0 }, { RLIMIT_RTPRIO, 0 },
	};
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct rlimit limit = { table[i].most, table[i].most };
		if (setrlimit(table[i].what, &limit) < 0)
			fail("setrlimit", "a limit");
	}
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };
	for (int cap = 0; cap <= 40; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0)
			fail("drop bounding", "a capability");
	if (prctl(PR_SET_SECUREBITS, 0xef) < 0)
		fail("set", "securebits");
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, INSIDE, INSIDE, INSIDE) < 0 ||
	    syscall(SYS_setresuid, INSIDE, INSIDE, INSIDE) < 0)
		fail("set", "ids");
	if (syscall(SYS_capset, &header, none) < 0)
		fail("drop", "capabilities");
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("set", "process attributes");
}

static int refused(int call)
{
	static const int calls[] = {
		SYS_ptrace, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_swapon, SYS_swapoff, SYS_reboot,
		SYS_init_module, SYS_delete_module, SYS_finit_module, SYS_kexec_load, SYS_kexec_file_load, SYS_bpf,
		SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_unshare, SYS_setns,
		SYS_acct, SYS_settimeofday, SYS_sethostname, SYS_iopl, SYS_ioperm, SYS_process_vm_readv,
		SYS_process_vm_writev, SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_quotactl, SYS_syslog,
	};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i] == call)
			return 1;
	return 0;
}

static struct sock_filter code[2 * LAST_CALL + 16];

static unsigned short make_filter(void)
{
	unsigned short n = 0;
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int call = 0; call < LAST_CALL; call++) {
		if (refused(call))
			continue;
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	return n;
}

static void install_filter(void)
{
	struct sock_fprog program = { make_filter(), code };
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		fail("install", "the seccomp filter");
}

static void inside(int go, const int *tasks, char **argv)
{
	static char *const environment[] = { "PATH=/usr/bin:/bin", "HOME=/tmp", NULL };
	char byte;
	if (read(go, &byte, 1) != 1)
		_exit(125);
	for (int i = 0; tasks && i < 3; i++)
		if (write(tasks[i], "0", 1) != 1)
			fail("join", controllers[i]);
	if (tasks && syscall(SYS_unshare, CLONE_NEWCGROUP) < 0)
		fail("unshare", "the cgroup namespace");
	/* The unmapped ids of the cloner become the range's root, which owns what is mounted from here on. */
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		fail("become", "the range's root");
	setsid();
	umask(0);
	make_root();
	if (sethostname("jail", 4) < 0)
		fail("sethostname", "jail");
	set_limits();
	syscall(SYS_close_range, 3, ~0u, 0);
	drop_privileges();
	install_filter();
	execve(argv[0], argv, environment);
	fail("exec", argv[0]);
}

int main(int argc, char **argv)
{
	int net = 1, groups = 0, option, pidfd = -1, go[2], tasks[3], status;
	while ((option = getopt(argc, argv, "+ncb")) != -1) {
		if (option == 'b')
			return write(1, code, make_filter() * sizeof *code) < 0;
		net &= option != 'n';
		groups |= option == 'c';
	}
	if (optind == argc || pipe2(go, O_CLOEXEC) < 0)
		return 2;
	if (groups)
		make_groups(tasks);
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWTIME |
			 (net ? CLONE_NEWNET : 0) | (groups ? 0 : CLONE_NEWCGROUP) | CLONE_PIDFD,
		.pidfd = (unsigned long long)(unsigned long)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t child = syscall(SYS_clone3, &args, sizeof args);
	if (child < 0)
		fail("clone3", "the namespaces");
	if (child == 0)
		inside(go[0], groups ? tasks : NULL, argv + optind);
	map_ids(child);
	if (write(go[1], "", 1) != 1 || waitpid(child, &status, 0) < 0)
		fail("wait for", "the child");
	if (groups)
		remove_groups();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
