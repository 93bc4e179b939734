// Takes system calls away from a process, as the filter of a container does.
#pragma once

namespace rondo::test {

/// To be called in a child: from here on system call `number` fails with `error` in this process
/// and what it executes, or, where `error` is 0, ends it by SIGSYS. Ends the child with 2 where no
/// filter can be set.
void refuse(int number, unsigned error);

}  // namespace rondo::test
