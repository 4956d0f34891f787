/*
 * The last program before a cell: it runs inside the walls that namespaces make
 * and puts up those that a process can only put up around itself, then becomes
 * the cell. It has no library below it, so that it starts in a tenth of a
 * millisecond where a Go program takes one. Called "starter" it stays, and starts
 * cells, or what makes walls around them: see serve.
 *
 * Descriptor 3 is the cell's socket to its node; descriptor 4 is a socket of
 * type SOCK_SEQPACKET to whoever starts the cell:
 *
 *	shim -> "R"		it runs; the kernel attaches its pid
 *	shim <- struct config	what to do; where descriptors come with it, they are what
 *				3 and 4 are from here on, and the groups' files: what
 *				made the walls may keep those that it handed on
 *	shim -> "S"		user and parent are as asked; the kernel attaches the uid
 *	shim -> struct failure	a wall does not stand: nothing was executed
 *	end of the socket	after "S": the cell's program runs
 *
 * Descriptors from 5 on are the files of the control groups to join: a thread
 * that moves itself spares the kernel the waiting that moving another takes.
 *
 * argv[1..] is the cell's command, the environment its environment unless the
 * configuration has one (what makes the walls may add to it, or be led by it). On
 * every failure it exits with status 125 and executes nothing.
 */
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define AT_FDCWD -100
#define O_PATH_CLOEXEC (010000000 | 02000000)
#define SIGKILL 9
#define SIGCHLD 17
#define EINTR 4
#define EINVAL 22
#define EMFILE 24
#define CLONE_VM 0x100
#define CLONE_VFORK 0x4000
#define CLONE_PARENT 0x8000
#define CLONE_NEWPID 0x20000000
#define SCHED_IDLE 5

enum { FLAG_UID = 1, FLAG_DROP_CAPS = 2, FLAG_DEATHSIG = 4, FLAG_SESSION = 8, FLAG_BACKGROUND = 16, FLAG_PRIVILEGED = 32, FLAG_ENVIRONMENT = 64 };

struct config {
	uint32_t magic, flags, uid, gid;
	uint32_t limits, rules, instructions, ruleset_size;
	uint32_t groups, variables;
	uint64_t fs, net, scoped;
	/* then limits, rules and instructions, each as below, and the environment, of
	 * which each variable has its zero */
};
struct limit { uint32_t resource, zero; uint64_t soft, hard; };
struct rule { uint64_t access; uint32_t optional, length; /* then a path with its zero, padded to 8 */ };
struct failure { char kind; char zero[3]; uint32_t step, error; };
struct path_beneath { uint64_t access; int32_t fd; } __attribute__((packed));
struct program { uint16_t length; void *filter; };
struct cap_header { uint32_t version; int pid; };
struct cap_data { uint32_t effective, permitted, inheritable; };

/* What a starter is told, and says. */
struct request {
	uint32_t parent, arguments, variables, length;
	uint32_t inherited, namespaces;
	/* then length bytes, of which the last ones fill up to 8: the directory, the
	 * arguments and the environment, each with its zero; then a struct config */
};
struct reply { int32_t pid; uint32_t step, error; };

/* numbered as shimSteps in shim.go */
enum step { HELLO = 1, CONFIG, SESSION, RLIMIT, LANDLOCK, CAPS, UID, PRIVS, SECCOMP, CLOSE, DEATHSIG, REPORT, EXEC, GROUP, BEHIND, DIRECTORY, DESCRIPTORS, CLONE };

#define MAGIC 0x314d4853 /* "SHM1" */

static uint64_t buffer[(256 << 10) / 8];
static char *vector[2 * 1024 + 8];

enum { MOST = 16 /* descriptors */ };
static struct { struct cmsghdr header; int fds[MOST]; } control;
static volatile struct failure failed; /* of a starter's child, which shares its memory */
static int serving;

#if defined(__x86_64__)
static inline __attribute__((always_inline)) long trap(long n, long a, long b, long c, long d, long e)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall start\n");
#elif defined(__aarch64__)
static inline __attribute__((always_inline)) long trap(long n, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tbl start\n");
#else
#error "no entry for this architecture"
#endif

static long call(long n, long a, long b, long c, long d, long e)
{
	return trap(n, a, b, c, d, e);
}

static void die(enum step step, long error)
{
	failed.kind = 'E';
	failed.step = step;
	failed.error = (uint32_t)-error;
	if (!serving)
		call(SYS_write, 4, (long)&failed, sizeof failed, 0, 0);
	call(SYS_exit_group, 125, 0, 0, 0, 0);
	__builtin_unreachable();
}

static void must(enum step step, long result)
{
	if (result < 0)
		die(step, result);
}

/* receive reads a message into the buffer, with its descriptors, which are in order. */
static long receive(int from, uint32_t *fds)
{
	static struct iovec into;
	static struct msghdr m;
	long n;

	do {
		into.iov_base = buffer;
		into.iov_len = sizeof buffer;
		m.msg_iov = &into;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		n = call(SYS_recvmsg, from, (long)&m, MSG_CMSG_CLOEXEC, 0, 0);
	} while (n == -EINTR);
	*fds = n < 0 || m.msg_controllen < sizeof control.header ? 0 : (control.header.cmsg_len - sizeof control.header) / sizeof(int);
	return n;
}

/* landlock confines this process to the paths that rules name. */
static uint8_t *landlock(const struct config *c, uint8_t *p)
{
	uint64_t attr[3] = {c->fs, c->net, c->scoped};
	long ruleset = -1;
	if (c->ruleset_size > 0) {
		ruleset = call(SYS_landlock_create_ruleset, (long)attr, c->ruleset_size, 0, 0, 0);
		must(LANDLOCK, ruleset);
	}
	for (uint32_t i = 0; i < c->rules; i++) {
		struct rule *r = (struct rule *)p;
		p += sizeof *r;
		long fd = call(SYS_openat, AT_FDCWD, (long)p, O_PATH_CLOEXEC, 0, 0);
		p += (r->length + 7) & ~7u;
		if (fd < 0 && r->optional)
			continue;
		must(LANDLOCK, fd);
		struct path_beneath beneath = {r->access, (int32_t)fd};
		if (ruleset >= 0)
			must(LANDLOCK, call(SYS_landlock_add_rule, ruleset, 1, (long)&beneath, 0, 0));
		call(SYS_close, fd, 0, 0, 0, 0);
	}
	if (ruleset >= 0) {
		must(LANDLOCK, call(SYS_landlock_restrict_self, ruleset, 0, 0, 0, 0));
		call(SYS_close, ruleset, 0, 0, 0, 0);
	}
	return p;
}

/* drop gives up root: the bounding set first, which takes a capability. */
static void drop(const struct config *c)
{
	if (c->flags & FLAG_DROP_CAPS)
		for (long cap = 0; cap < 64; cap++) {
			long r = call(SYS_prctl, 23 /* PR_CAPBSET_READ */, cap, 0, 0, 0);
			if (r < 0)
				break; /* beyond the last one */
			if (r > 0)
				must(CAPS, call(SYS_prctl, 24 /* PR_CAPBSET_DROP */, cap, 0, 0, 0));
		}
	if (c->flags & FLAG_UID) {
		must(UID, call(SYS_setgroups, 0, 0, 0, 0, 0));
		must(UID, call(SYS_setresgid, c->gid, c->gid, c->gid, 0, 0));
		must(UID, call(SYS_setresuid, c->uid, c->uid, c->uid, 0, 0));
	}
	if (c->flags & FLAG_DROP_CAPS) {
		struct cap_header header = {0x20080522, 0};
		struct cap_data none[2] = {{0, 0, 0}, {0, 0, 0}};
		call(SYS_prctl, 47 /* PR_CAP_AMBIENT */, 4 /* CLEAR_ALL */, 0, 0, 0);
		must(CAPS, call(SYS_capset, (long)&header, (long)none, 0, 0, 0));
	}
}

/*
 * confine does to this process what c asks for. The control groups to join are
 * descriptors from groups on. It returns where the filter of system calls lies.
 */
static uint8_t *confine(const struct config *c, uint32_t groups)
{
	struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } behind;

	if (c->flags & FLAG_SESSION) {
		long r = call(SYS_setsid, 0, 0, 0, 0, 0);
		if (r != -1) /* EPERM: it leads a group already */
			must(SESSION, r);
	}
	if (c->flags & FLAG_BACKGROUND) {
		behind.size = sizeof behind;
		behind.policy = SCHED_IDLE;
		behind.nice = 0;
		behind.flags = behind.runtime = behind.deadline = behind.period = behind.priority = 0;
		must(BEHIND, call(SYS_sched_setattr, 0, (long)&behind, 0, 0, 0));
	}
	for (uint32_t i = 0; i < c->groups; i++)
		must(GROUP, call(SYS_write, groups + i, (long)"0", 1, 0, 0));
	uint8_t *p = (uint8_t *)(c + 1);
	for (uint32_t i = 0; i < c->limits; i++, p += sizeof(struct limit)) {
		struct limit *l = (struct limit *)p;
		must(RLIMIT, call(SYS_prlimit64, 0, l->resource, (long)&l->soft, 0, 0));
	}
	if (!(c->flags & FLAG_PRIVILEGED))
		must(PRIVS, call(SYS_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0));
	p = landlock(c, p);
	drop(c);
	return p;
}

/* tie ends this process with its parent. It comes after the change of user, which
 * clears it. */
static void tie(const struct config *c)
{
	if (c->flags & FLAG_DEATHSIG)
		must(DEATHSIG, call(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, SIGKILL, 0, 0, 0));
}

static __attribute__((noreturn)) void execute(const struct config *c, uint8_t *instructions, char **argv, char **envp)
{
	if (c->instructions > 0) {
		struct program filter = {(uint16_t)c->instructions, instructions};
		must(SECCOMP, call(SYS_seccomp, 1 /* SET_MODE_FILTER */, 0, (long)&filter, 0, 0));
	}
	die(EXEC, call(SYS_execve, (long)argv[0], (long)argv, (long)envp, 0, 0));
	__builtin_unreachable();
}

/* become makes a starter's child what was asked for. fds are the output, what is
 * inherited as descriptor 3 and on, and the control groups to join; descriptor 0 is
 * the starter's own. They are in order and above 3, so that none is overwritten. */
static __attribute__((noreturn, noinline)) void become(const struct request *r, const int *fds, char *directory, char **argv, char **envp)
{
	const struct config *c = (const struct config *)((const uint8_t *)(r + 1) + r->length);

	must(DIRECTORY, call(SYS_chdir, (long)directory, 0, 0, 0, 0));
	must(DESCRIPTORS, call(SYS_dup3, fds[0], 1, 0, 0, 0));
	must(DESCRIPTORS, call(SYS_dup3, fds[0], 2, 0, 0, 0));
	for (uint32_t i = 0; i < r->inherited; i++)
		must(DESCRIPTORS, call(SYS_dup3, fds[1 + i], 3 + i, 0, 0, 0));
	uint8_t *filter = confine(c, fds[0] + 1 + r->inherited);
	must(CLOSE, call(SYS_close_range, 3 + r->inherited, ~0u, 0, 0, 0));
	tie(c);
	/* It died before that? From within a pid namespace nobody can tell; there the shim
	 * finds its socket closed. */
	if (c->flags & FLAG_DEATHSIG && !(r->namespaces & CLONE_NEWPID) && call(SYS_getppid, 0, 0, 0, 0, 0) != r->parent)
		die(DEATHSIG, -EINVAL);
	execute(c, filter, argv, envp);
}

/*
 * serve starts programs as asked on descriptor 3, a socket of type SOCK_SEQPACKET:
 *
 *	node -> struct request	with descriptors: the output, what is inherited from
 *				3 on, and the control groups to join
 *	node <- struct reply	the program has been executed, or what failed
 *
 * They are children of the node, not of this process: the node waits for them. A cell
 * costs one execution of a program where the shim by itself costs two, and is behind
 * others, if it is to be, from its first moment.
 */
static __attribute__((noreturn)) void serve(void)
{
	static struct reply reply;
	const struct request *r = (struct request *)buffer;

	serving = 1;
	call(SYS_close_range, 4, ~0u, 0, 0, 0);
	for (;;) {
		uint32_t fds;
		if (receive(3, &fds) < (long)sizeof *r) /* the end of the node */
			call(SYS_exit_group, 0, 0, 0, 0, 0);
		const struct config *c = (const struct config *)((const uint8_t *)(r + 1) + r->length);
		char *p = (char *)(r + 1), *directory = p;
		char **to = vector, **variables = vector + r->arguments + 1;
		for (uint32_t i = 0; i < r->arguments + r->variables; i++) {
			while (*p++) /* to the one after this */
				;
			*to++ = p;
			if (i + 1 == r->arguments)
				*to++ = 0;
		}
		*to = 0;
		failed.step = 0;
		long pid = -EMFILE;
		if (fds == 1 + r->inherited + c->groups) {
			/*
			 * The child runs in this very frame and memory, while this
			 * waits: so no function may return in it.
			 */
			pid = trap(SYS_clone, r->namespaces | CLONE_VM | CLONE_VFORK | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
			if (pid == 0)
				become(r, control.fds, directory, vector, variables);
		}
		reply.pid = pid > 0 ? (int32_t)pid : 0;
		reply.step = pid > 0 ? failed.step : CLONE;
		reply.error = pid > 0 ? failed.error : (uint32_t)-pid;
		for (uint32_t i = 0; i < fds; i++)
			call(SYS_close, control.fds[i], 0, 0, 0, 0);
		call(SYS_write, 3, (long)&reply, sizeof reply, 0, 0);
	}
}

/* environment returns that of the configuration, which lies at p. */
static char **environment(const struct config *c, char *p)
{
	for (uint32_t i = 0; i < c->variables; i++) {
		vector[i] = p;
		while (*p++)
			;
	}
	vector[c->variables] = 0;
	return vector;
}

__attribute__((used, noreturn)) void start(long *stack)
{
	char **argv = (char **)(stack + 1);
	char **envp = argv + stack[0] + 1;
	struct config *c = (struct config *)buffer;

	if (stack[0] == 1 && argv[0][0] == 's') /* "starter" */
		serve();
	must(HELLO, call(SYS_write, 4, (long)"R", 1, 0, 0));
	uint32_t fds, groups = 5;
	long n = receive(4, &fds);
	must(CONFIG, n);
	/* An empty message is the end of whoever started this. */
	if (n < (long)sizeof *c || c->magic != MAGIC || stack[0] < 2)
		die(CONFIG, -EINVAL);
	if (fds > 0) {
		if (fds != 2 + c->groups)
			die(DESCRIPTORS, -EINVAL);
		must(DESCRIPTORS, call(SYS_dup3, control.fds[0], 3, 0, 0, 0));
		must(DESCRIPTORS, call(SYS_dup3, control.fds[1], 4, 0, 0, 0));
		groups = control.fds[1] + 1;
	}
	uint8_t *filter = confine(c, groups);
	must(CLOSE, call(SYS_fcntl, 4, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */, 0, 0));
	must(CLOSE, call(SYS_close_range, 5, ~0u, 0, 0, 0));
	tie(c);
	/* A parent that died before that can't be told, and this fails. */
	must(REPORT, call(SYS_write, 4, (long)"S", 1, 0, 0));
	if (c->flags & FLAG_ENVIRONMENT)
		envp = environment(c, (char *)filter + 8 * c->instructions);
	execute(c, filter, argv + 1, envp);
}
