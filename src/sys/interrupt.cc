#include "sys/interrupt.h"

#include <unistd.h>
#include <csignal>

#include "base/error.h"

namespace conclave::sys {
namespace {

volatile std::sig_atomic_t g_signals = 0;  // a handler can reach nothing but a global
struct sigaction g_old_int, g_old_term;

extern "C" void on_signal(int) {
  if (g_signals != 0) _exit(130);
  g_signals = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  g_signals = 0;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &g_old_int);
  sigaction(SIGTERM, &action, &g_old_term);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &g_old_int, nullptr);
  sigaction(SIGTERM, &g_old_term, nullptr);
  g_signals = 0;
}

bool interrupted() { return g_signals != 0; }
void stop_if_interrupted(const char* what) {
  if (interrupted()) fail(ErrorKind::kInterrupted, "stopped while {}", what);
}
void clear_interrupt() { g_signals = 0; }

}  // namespace conclave::sys
