//! Taking a lock that a panic elsewhere has poisoned. Whoever uses this keeps what the lock guards
//! whole at every step, so one request's panic does not become everybody's (invariant I12).

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_poisons_nothing() {
        let mutex = Mutex::new(1);
        let died = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut held = lock(&mutex);
                *held += 1;
                panic!("while it is held");
            });
            holder.join().is_err()
        });
        assert!(died && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
    }
}
