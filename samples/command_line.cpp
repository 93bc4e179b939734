#include "command_line.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdlib>
#include <sstream>

namespace {

// CLI11's own checks only compare, and nan is neither below nor above anything; and they tell the
// greatest number by its 309 digits.
template <typename Accepts>
CLI::Validator numbers(const std::string& which, const std::string& description, Accepts accepts) {
    const auto check = [which, accepts](std::string& text) -> std::string {
        double value = 0;
        const bool read = CLI::detail::lexical_cast(text, value);
        if (read && !std::isfinite(value)) return "Value " + text + " is no finite number";
        return read && accepts(value) ? "" : "Value " + text + " not " + which;
    };
    return CLI::Validator(check, description);
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
    option_->check(numbers("above 0", "POSITIVE", [](double value) { return value > 0; }));
    return *this;
}

command_line::argument command_line::argument::not_negative() const {
    option_->check(numbers("0 or above", "NONNEGATIVE", [](double value) { return value >= 0; }));
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

command_line::argument command_line::argument::between(std::size_t least,
                                                       std::size_t most) const {
    option_->check(CLI::Range(least, most));
    return *this;
}

command_line::argument command_line::argument::between(double least, double most) const {
    std::ostringstream range, description;
    range << "in range " << least << " to " << most;
    description << "FLOAT in [" << least << " - " << most << "]";
    option_->check(numbers(range.str(), description.str(), [least, most](double value) {
        return value >= least && value <= most;
    }));
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
