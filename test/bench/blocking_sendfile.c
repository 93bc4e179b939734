// The textbook's file server: one client at a time, sendfile(2) on blocking sockets.
//
//   blocking_sendfile PORT FILE      sends FILE to whoever connects to 127.0.0.1:PORT
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "listen.h"

static void send_all(int client, int file)
{
    struct stat about;
    if (fstat(file, &about) != 0)
        fail("fstat", errno);
    off_t offset = 0;
    while (offset < about.st_size) {
        ssize_t sent = sendfile(client, file, &offset, (size_t)(about.st_size - offset));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s PORT FILE\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on_loopback(parse_port(argv[1]), 0);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        int file = open(argv[2], O_RDONLY | O_CLOEXEC);
        if (file < 0)
            fail("open", errno);
        send_all(client, file);
        close(file);
        close(client);
    }
}
