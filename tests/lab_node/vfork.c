/* A program that waits in vfork(2) for its child to start a program: until the file NAME is there
 * for the first time, and not for long after that.
 *
 *   vfork NAME    prints a number for each child
 */
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct timespec PAUSE = {0, 2000000};

int main(int count, char **words)
{
	for (int i = 0; count == 2; i++) {
		pid_t child = vfork();

		if (child == 0) {
			while (access(words[1], F_OK))
				nanosleep(&PAUSE, NULL);
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		if (child < 0 || waitpid(child, NULL, 0) != child)
			return 1;
		printf("%d\n", i);
		fflush(stdout);
		nanosleep(&PAUSE, NULL);
	}
	return 2;
}
