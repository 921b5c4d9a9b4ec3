// google.rpc status codes and the errno values that stand for them on our side of the wire.
#pragma once

#include "base/result.h"

namespace hmvm {

enum TtrpcCode : int {
  kTtrpcOk = 0,
  kTtrpcCancelled = 1,
  kTtrpcUnknown = 2,
  kTtrpcInvalidArgument = 3,
  kTtrpcDeadlineExceeded = 4,
  kTtrpcNotFound = 5,
  kTtrpcAlreadyExists = 6,
  kTtrpcPermissionDenied = 7,
  kTtrpcResourceExhausted = 8,
  kTtrpcFailedPrecondition = 9,
  kTtrpcUnimplemented = 12,
  kTtrpcUnavailable = 14,
};

// What goes over the wire for an error. The message is `what` alone where the code already says the reason
// (the peer may be containerd, which adds ": not found" itself), and `what: reason` for errors without a
// code.
struct TtrpcStatus {
  int code;
  std::string message;
};
TtrpcStatus StatusOfError(const Error& error);

// The error that a caller sees: errno by the code (0 for UNKNOWN and codes not listed), `what` = the message.
Error ErrorOfStatus(int code, std::string message);

}  // namespace hmvm
