#include "command_line.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdlib>

namespace {

// "nan" and "inf" are numbers to CLI11, and neither below nor above anything: its own checks, all
// of which compare, let the first of them through.
std::string check_finite(const std::string& text) {
    double value = 0;
    if (!CLI::detail::lexical_cast(text, value) || std::isfinite(value)) return {};
    return "Value " + text + " is no finite number";
}

}  // namespace

command_line::command_line(const std::string& purpose, const std::string& footer)
    : app_(std::make_unique<CLI::App>(purpose)) {
    app_->footer(footer);
}

command_line::~command_line() = default;

template <argument_value Value>
command_line::argument command_line::add(const std::string& name, Value& value,
                                         const std::string& meaning) {
    CLI::Option& added = *app_->add_option(name, value, meaning);
    if constexpr (!std::same_as<Value, std::vector<std::string>>) added.capture_default_str();
    return argument(added);
}

template command_line::argument command_line::add(const std::string&, std::string&,
                                                  const std::string&);
template command_line::argument command_line::add(const std::string&, std::vector<std::string>&,
                                                  const std::string&);
template command_line::argument command_line::add(const std::string&, int&,
                                                  const std::string&);
template command_line::argument command_line::add(const std::string&, unsigned&,
                                                  const std::string&);
template command_line::argument command_line::add(const std::string&, std::size_t&,
                                                  const std::string&);
template command_line::argument command_line::add(const std::string&, double&,
                                                  const std::string&);

void command_line::flag(const std::string& name, bool& value, const std::string& meaning) {
    app_->add_flag(name, value, meaning);
}

void command_line::parse(int argc, char** argv) {
    try {
        app_->parse(argc, argv);
    } catch (const CLI::ParseError& end) {
        std::exit(app_->exit(end));
    }
}

command_line::argument command_line::argument::required() const {
    option_->required();
    return *this;
}

command_line::argument command_line::argument::positive() const {
    option_->check(check_finite, "")->check(CLI::PositiveNumber);
    return *this;
}

command_line::argument command_line::argument::not_negative() const {
    option_->check(check_finite, "")->check(CLI::NonNegativeNumber);
    return *this;
}

command_line::argument command_line::argument::between(int least, int most) const {
    option_->check(CLI::Range(least, most));
    return *this;
}

command_line::argument command_line::argument::between(unsigned least, unsigned most) const {
    option_->check(CLI::Range(least, most));
    return *this;
}

command_line::argument command_line::argument::between(double least, double most) const {
    option_->check(check_finite, "")->check(CLI::Range(least, most));
    return *this;
}

command_line::argument command_line::argument::one_of(std::initializer_list<int> values) const {
    option_->check(CLI::IsMember(values));
    return *this;
}

command_line::argument command_line::argument::existing_directory() const {
    option_->check(CLI::ExistingDirectory);
    return *this;
}

command_line::argument command_line::argument::takes(const std::string& what) const {
    option_->type_name(what);
    return *this;
}

command_line::argument command_line::argument::hide_default() const {
    option_->default_str("");
    return *this;
}
