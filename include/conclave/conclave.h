// The whole installed API of Conclave, a mixture-of-experts engine.
#pragma once

#include <conclave/model.h>

namespace conclave {

// "0.1.0": of the library that is loaded, which need not be that of the headers.
CONCLAVE_API const char* version();

}  // namespace conclave
