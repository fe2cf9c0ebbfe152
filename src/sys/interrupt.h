// Ctrl-C (SIGINT) and SIGTERM as a flag that long work polls: the first signal asks for a clean
// end, a second one ends the process at once.
#pragma once

namespace conclave::sys {

// Installs the handlers for the lifetime of the object; the flag starts clear. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

// True once a signal arrived while a guard lives.
bool interrupted();
// Throws Error(kInterrupted) "stopped while WHAT" after a signal: for long work that leaves nothing
// worth keeping when it ends early.
void stop_if_interrupted(const char* what);
// Forgets the signal: the work that was asked to stop has stopped.
void clear_interrupt();

}  // namespace conclave::sys
