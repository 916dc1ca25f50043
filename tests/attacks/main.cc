#include "gtest/gtest.h"
#include "tests/attacks/key_bytes.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  mesh::test::WatchOutputs();
  return RUN_ALL_TESTS();
}
