#include "benchmarks/report.h"

#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::benchmarks {
namespace {

TEST(MedianOfTest, IsTheMiddleWithItsBounds) {
  const Estimate few = MedianOf({3, 1, 2});
  EXPECT_EQ(few.median, 2);
  EXPECT_EQ(few.low, 1);
  EXPECT_EQ(few.high, 3);
  EXPECT_EQ(MedianOf({4, 1, 3, 2}).median, 2.5);

  std::vector<double> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(i);
  const Estimate many = MedianOf(samples);
  EXPECT_EQ(many.median, 50.5);
  // 95% of binomial(100, 1/2) lies in 40 to 60.
  EXPECT_EQ(many.low, 41);
  EXPECT_EQ(many.high, 60);
}

TEST(TableTest, ColumnsAreAsWideAsTheirCells) {
  Table table({"policy", "ns"});
  table.Row({"p2c", "13.25"});
  EXPECT_EQ(table.Text(),
            "policy     ns\n"
            "-------------\n"
            "p2c     13.25\n");
}

TEST(NumberTest, HasTheDigitsAskedFor) {
  EXPECT_EQ(Number(1.005, 1), "1.0");
  EXPECT_EQ(Number(Estimate{1, 0.5, 2}), "1.00 (0.50 to 2.00)");
}

TEST(ReportTest, WritesFlatJson) {
  const std::string file = testing::TempDir() + "/report.json";
  std::string program = "bench", json = "--json", path = file, other = "other";
  char* argv[] = {program.data(), other.data(), json.data(), path.data()};
  int argc = 4;
  Report report(&argc, argv);
  EXPECT_EQ(argc, 2) << "what it does not know is left";
  EXPECT_STREQ(argv[1], "other");

  report.Metric("b.count", 1234567);
  report.Metric("a.ratio", Estimate{1.25, 1, 1.5});
  report.Metric("c.none", std::numeric_limits<double>::infinity());
  ASSERT_EQ(report.Write(), 0);
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  EXPECT_EQ(text.str(),
            "{\n"
            "  \"a.ratio\": 1.25,\n"
            "  \"a.ratio_high\": 1.5,\n"
            "  \"a.ratio_low\": 1,\n"
            "  \"b.count\": 1234567,\n"
            "  \"c.none\": null\n"
            "}\n");
}

TEST(ReportTest, SaysThatAFileCannotBeWritten) {
  std::string program = "bench", json = "--json", path = "/no/such/dir/file";
  char* argv[] = {program.data(), json.data(), path.data()};
  int argc = 3;
  const Report report(&argc, argv);
  testing::internal::CaptureStderr();
  EXPECT_EQ(report.Write(), 1);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("/no/such/dir/file"),
            std::string::npos);
}

}  // namespace
}  // namespace mesh::benchmarks
