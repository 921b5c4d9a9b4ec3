#include "runtime/events/event_filter.h"

#include <gtest/gtest.h>

namespace hmvm {
namespace {

Event Of(const char* action, const char* name) {
  return {.action = action, .id = "abcdef", .name = name, .image = "busybox"};
}

TEST(EventFilterTest, WithoutConditionsEverythingIsWanted) {
  EXPECT_TRUE(EventFilter().Wants(Of("running", "web")));
}

TEST(EventFilterTest, OfEachKindOneMustHold) {
  EventFilter filter;
  for (const char* condition : {"container=web", "container=db", "event=running", "image=busybox"}) {
    ASSERT_TRUE(filter.Add(condition).has_value()) << condition;
  }
  EXPECT_TRUE(filter.Wants(Of("running", "web")));
  EXPECT_TRUE(filter.Wants(Of("running", "db")));
  EXPECT_FALSE(filter.Wants(Of("stopped", "web")));
  EXPECT_FALSE(filter.Wants(Of("running", "other")));
}

TEST(EventFilterTest, AContainerIsKnownByTheBeginningOfItsId) {
  EventFilter filter;
  ASSERT_TRUE(filter.Add("container=abc").has_value());
  EXPECT_TRUE(filter.Wants(Of("running", "web")));
}

TEST(EventFilterTest, OtherConditionsAreRefused) {
  for (const char* condition : {"", "web", "container=", "colour=red"}) {
    EXPECT_FALSE(EventFilter().Add(condition).has_value()) << condition;
  }
}

}  // namespace
}  // namespace hmvm
