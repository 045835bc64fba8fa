/* What bench/migration.py moves and bench/checkpoints.py saves: memory, half of it random and half
 * compressible, and a clock.
 *
 *   still run MEGABYTES FILE      appends CLOCK_MONOTONIC and CLOCK_REALTIME in ns, 16 bytes each
 *                                 time, to FILE, about a thousand times a second
 *   still work MEGABYTES UNITS FILE   computes for about 10 ms so many times, and writes the ns of
 *                                 CLOCK_MONOTONIC that it took to FILE
 *   still init [UID GID PROGRAM ...]   PID 1 of a namespace: starts the program as that user in a
 *                                 session of its own, or leaves its first numbers free; and reaps
 *                                 for ever
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fill(uint64_t *memory, size_t words)
{
	uint64_t x = 88172645463325252u;
	for (size_t i = 0; i < words; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* pages take turns: random numbers, and one number again and again */
		memory[i] = (i >> 9) & 1 ? x : (i >> 9);
	}
}

static int run(size_t megabytes, const char *path)
{
	size_t size = megabytes << 20;
	uint64_t *memory = malloc(size);
	int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (!memory || file < 0) {
		perror("still");
		return 1;
	}
	fill(memory, size / 8);
	for (size_t at = 0;; at = (at + 4096) % size) {
		int64_t tick[2] = {now(CLOCK_MONOTONIC), now(CLOCK_REALTIME)};
		struct timespec pause = {0, 1000000};
		memory[at / 8] += 1;
		if (write(file, tick, sizeof tick) != sizeof tick)
			return 1;
		nanosleep(&pause, NULL);
	}
}

static int work(size_t megabytes, unsigned long units, const char *path)
{
	size_t size = megabytes << 20;
	uint64_t *memory = malloc(size), x = 88172645463325252u;
	FILE *file;
	if (!memory) {
		perror("still");
		return 1;
	}
	fill(memory, size / 8);
	int64_t began = now(CLOCK_MONOTONIC);
	for (size_t at = 0; units--; at = (at + 4096) % size) {
		for (int i = 0; i < 5000000; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		memory[at / 8] ^= x;
	}
	int64_t took = now(CLOCK_MONOTONIC) - began;
	if (!(file = fopen(path, "w")) || fprintf(file, "%lld\n", (long long)took) < 0)
		return 1;
	return fclose(file) != 0;
}

static int init(char **rest)
{
	if (rest[0] && rest[1] && rest[2] && fork() == 0) {
		uid_t uid = atoi(rest[0]);
		gid_t gid = atoi(rest[1]);
		if (setsid() < 0 || setgroups(1, &gid) || setgid(gid) || setuid(uid))
			return 1;
		execv(rest[2], rest + 2);
		return 1;
	}
	if (!rest[0]) {
		int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
		if (last < 0 || write(last, "400", 3) != 3)
			return 1;
		close(last);
	}
	for (;;)
		if (waitpid(-1, NULL, 0) < 0)
			sleep(1);
}

int main(int count, char **words)
{
	if (count == 4 && !strcmp(words[1], "run"))
		return run(strtoul(words[2], NULL, 10), words[3]);
	if (count == 5 && !strcmp(words[1], "work"))
		return work(strtoul(words[2], NULL, 10), strtoul(words[3], NULL, 10), words[4]);
	if (count >= 2 && !strcmp(words[1], "init"))
		return init(words + 2);
	return 2;
}
