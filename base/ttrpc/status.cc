#include "base/ttrpc/status.h"

#include <array>

namespace hmvm {
namespace {

struct Row {
  int number;  // errno
  int code;
};

// The first row of a code is the errno that it becomes again; further rows are folded into it.
constexpr std::array kRows = {
    Row{ENOENT, kTtrpcNotFound},
    Row{ESRCH, kTtrpcNotFound},
    Row{EACCES, kTtrpcPermissionDenied},
    Row{EPERM, kTtrpcPermissionDenied},
    Row{EINVAL, kTtrpcInvalidArgument},
    Row{EEXIST, kTtrpcAlreadyExists},
    Row{EBUSY, kTtrpcFailedPrecondition},
    Row{ENOSYS, kTtrpcUnimplemented},
    Row{ETIMEDOUT, kTtrpcDeadlineExceeded},
    Row{ECONNRESET, kTtrpcUnavailable},
    Row{EPIPE, kTtrpcUnavailable},
    Row{ENOMEM, kTtrpcResourceExhausted},
    Row{EMSGSIZE, kTtrpcResourceExhausted},
    Row{ECANCELED, kTtrpcCancelled},
};

}  // namespace

TtrpcStatus StatusOfError(const Error& error) {
  for (const Row& row : kRows) {
    if (row.number == error.code) return {row.code, error.what};
  }
  return {kTtrpcUnknown, error.Message()};
}

Error ErrorOfStatus(int code, std::string message) {
  for (const Row& row : kRows) {
    if (row.code == code) return Error{row.number, std::move(message)};
  }
  return Error{0, std::move(message)};
}

}  // namespace hmvm
