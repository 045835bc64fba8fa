/* What tests/e2e/test_moves.py moves as its large program: memory that each step reads and changes.
 *
 *   large MEBIBYTES NAME      prints a row for each step, and ends with status 3; it pauses after
 *                             each step until the file NAME.go is there; what it worked is in
 *                             NAME.cpu, in seconds of a processor, on all hosts together: not
 *                             what its restore took, nor how its pauses passed, in which it moves
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 1500, PAGE = 8192 };

static double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t sum(const uint64_t *from, size_t words, uint64_t found)
{
	for (size_t i = 0; i < words; i++)
		found = (found ^ from[i]) * 1099511628211u;
	return found;
}

static void pause_a_little(const char *go)
{
	static double last;
	double here = now(CLOCK_MONOTONIC);
	struct timespec tenth = {0, 100000000};

	if (last && !(here >= last && here - last < 60))
		printf("the clock jumped by %f\n", here - last);
	last = here;
	if (access(go, F_OK))
		nanosleep(&tenth, NULL);
}

static double worked, since;

static void work(void)
{
	since = now(CLOCK_PROCESS_CPUTIME_ID);
}

static void rest(void)
{
	double took = now(CLOCK_PROCESS_CPUTIME_ID) - since;

	if (took > 0) /* the clock begins anew with a restore */
		worked += took;
}

static int tell_time(const char *path)
{
	FILE *file = fopen(path, "w");

	return !file || fprintf(file, "%f", worked) < 0 || fclose(file);
}

int main(int count, char **words)
{
	size_t all = count == 3 ? strtoul(words[1], NULL, 10) * (1 << 20) / 8 : 0;
	uint64_t *memory = malloc(all * 8), x = 88172645463325252u;
	char go[1024], cpu[1024];

	if (!all || !memory || strlen(words[2]) > 1000)
		return 2;
	sprintf(go, "%s.go", words[2]);
	sprintf(cpu, "%s.cpu", words[2]);
	work();
	for (size_t i = 0; i < all; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memory[i] = x;
	}
	rest();
	for (size_t step = 0; step < STEPS; step++) {
		work();
		uint64_t *page = memory + step * 7919 % (all / PAGE) * PAGE;
		uint64_t found = sum(page, PAGE, step);

		page[step % PAGE] += found;
		printf("%zu %016llx\n", step, (unsigned long long)found);
		fflush(stdout);
		rest();
		pause_a_little(go);
	}
	work();
	printf("%016llx\nend\n", (unsigned long long)sum(memory, all, 0));
	rest();
	return tell_time(cpu) ? 1 : 3;
}
