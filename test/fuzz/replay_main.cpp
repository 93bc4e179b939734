// Feeds the corpus to the fuzzers, without libFuzzer: `fuzz_replay CORPUS`, where CORPUS has a
// folder for each fuzzer; or `fuzz_replay NAME FILE...`, for what a fuzzer has found.
#include <fuzz/fuzz.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// Each file's name is told before it is run, so that the last one told is the one that failed.
bool replay(const rondo::fuzz::fuzzer& fuzzer, const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    if (!file) {
        std::fprintf(stderr, "%s cannot be read\n", path.c_str());
        return false;
    }
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);
    fuzzer.run(rondo::fuzz::input(std::as_bytes(std::span(text))));
    return true;
}

bool replay_folder(const rondo::fuzz::fuzzer& fuzzer, const fs::path& folder) {
    bool fine = true;
    std::size_t count = 0;
    for (const auto& each : fs::directory_iterator(folder)) {
        fine = replay(fuzzer, each.path()) && fine;
        ++count;
    }
    if (count == 0) std::fprintf(stderr, "%s is empty\n", folder.c_str());
    return fine && count != 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.empty()) {
        std::fprintf(stderr, "usage: fuzz_replay CORPUS | fuzz_replay NAME FILE...\n");
        return 2;
    }
    bool fine = true;
    bool found = false;
    for (const rondo::fuzz::fuzzer& each : rondo::fuzz::fuzzers) {
        if (arguments.size() == 1) {
            fine = replay_folder(each, fs::path(arguments[0]) / each.name) && fine;
            found = true;
        } else if (each.name == arguments[0]) {
            for (std::size_t i = 1; i != arguments.size(); ++i) {
                fine = replay(each, arguments[i]) && fine;
            }
            found = true;
        }
    }
    if (!found) std::fprintf(stderr, "there is no fuzzer %s\n", arguments[0].c_str());
    return fine && found ? 0 : 1;
}
