// What the server under load has used so far, read from /proc (proc(5)).
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <string.h>

// Seconds of CPU of all threads, the softirq work done on their behalf included: schedstat counts
// nanoseconds, where stat counts ticks. 0 when there is no such process.
static inline double server_cpu(int pid)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = pid > 0 ? opendir(path) : NULL;
    if (!tasks)
        return 0;
    double total = 0;
    for (struct dirent *task = readdir(tasks); task; task = readdir(tasks)) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        double nanoseconds = 0;
        if (file && fscanf(file, "%lf", &nanoseconds) == 1)
            total += nanoseconds * 1e-9;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return total;
}

// Resident memory in KiB, 0 when there is no such process.
static inline long server_memory(int pid)
{
    char line[256];
    snprintf(line, sizeof line, "/proc/%d/status", pid);
    FILE *file = pid > 0 ? fopen(line, "r") : NULL;
    if (!file)
        return 0;
    long kibibytes = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kibibytes) == 1)
            break;
    fclose(file);
    return kibibytes;
}
