#include "base/log.h"

namespace hmvm {

void InitLog(const char* program) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(program);
}

}  // namespace hmvm
