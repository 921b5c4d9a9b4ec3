#pragma once

#include <string>

#include "guest/api/agent.pb.h"

namespace hmvm {

// What no two guests have alike, drawn anew with each call: entropy from the host's random numbers, a machine
// id.
agent::v1::PersonaliseRequest NewPersonality(const std::string& hostname);

}  // namespace hmvm
