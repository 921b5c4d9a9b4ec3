#include "base/ttrpc/status.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

TEST(TtrpcStatusTest, EveryNamedErrnoSurvivesTheWire) {
  for (const int code : {ENOENT, EACCES, EINVAL, EEXIST, EBUSY, ENOSYS, ETIMEDOUT, ECONNRESET, ENOMEM}) {
    const TtrpcStatus status = StatusOfError(Error{code, "container 'a'"});
    const Error error = ErrorOfStatus(status.code, status.message);

    EXPECT_EQ(error.code, code);
    EXPECT_EQ(error.what, "container 'a'");
  }
}

TEST(TtrpcStatusTest, OtherErrorsBecomeUnknownAndKeepTheirReason) {
  const TtrpcStatus status = StatusOfError(Error{EIO, "read '/dev/vda'"});
  const Error error = ErrorOfStatus(status.code, status.message);

  EXPECT_EQ(status.code, kTtrpcUnknown);
  EXPECT_EQ(error.code, 0);
  EXPECT_EQ(error.Message(), "read '/dev/vda': Input/output error");
}

TEST(TtrpcStatusTest, ProcessThatIsGoneIsNotFound) {
  EXPECT_EQ(StatusOfError(Error{ESRCH, "process"}).code, kTtrpcNotFound);
}

}  // namespace
}  // namespace hmvm
