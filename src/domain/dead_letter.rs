//! Dead letters by what killed them: one cause is one group, however many orders it met.

/// Stands for everything in a reason that differs from job to job.
const VARIES: char = '#';

/// The reason without what names one job: a word with a digit in it (an order number, an id, an amount, an instant) is
/// replaced, so that the same cause reads the same.
pub fn cause_of(reason: &str) -> String {
    let mut cause = String::with_capacity(reason.len());
    let mut word = String::new();
    for letter in reason.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_') {
            word.push(letter);
        } else {
            close(&mut word, &mut cause);
            cause.push(letter);
        }
    }
    close(&mut word, &mut cause);
    cause
}

fn close(word: &mut String, cause: &mut String) {
    if word.contains(|letter: char| letter.is_ascii_digit()) {
        cause.push(VARIES);
    } else {
        cause.push_str(word);
    }
    word.clear();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_left_out() {
        let table = [
            ("order O-17 is not known", "order # is not known"),
            (
                "job 01932c5e-8a3b-7c1d-9e2f-000000000001: wechat_pay answered 400 at 2026-03-02T12:00:00Z",
                "job #: wechat_pay answered # at #:#:#",
            ),
            (
                "订单 SO20260302 已关闭，金额 12.50",
                "订单 # 已关闭，金额 #.#",
            ),
            ("two currencies", "two currencies"),
            ("", ""),
        ];
        for (reason, cause) in table {
            assert_eq!(cause_of(reason), cause);
        }
    }

    proptest! {
        #[test]
        fn a_cause_is_its_own_cause(reason in ".{0,80}") {
            let cause = cause_of(&reason);
            prop_assert_eq!(cause_of(&cause), cause);
        }

        #[test]
        fn two_orders_with_one_cause_share_it(one in "[A-Z]{1,3}-?[0-9]{1,9}", other in "[A-Z]{1,3}-?[0-9]{1,9}") {
            let told = |order: &str| cause_of(&format!("order {order}: no such channel"));
            prop_assert_eq!(told(&one), told(&other));
        }
    }
}
