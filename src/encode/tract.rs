//! A network in tract. One plan serves all threads, each of which brings the memory that it computes in.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Datum, InferenceModelExt, Tensor, TypedSimplePlan, tvec};
use tract_onnx::tract_core::model::IntoRunnable;

use super::error::Cause;

/// A network, optimised.
pub(super) type Plan = TypedSimplePlan;

/// Makes a plan of a network; the file's form of its weights is gone before the optimiser makes another of them.
pub(super) fn load(proto: ModelProto) -> Result<Arc<Plan>, Cause> {
    let parsed = tract_onnx::onnx().parse(&proto, None)?;
    drop(proto);
    if let Some(missing) = parsed.unresolved_inputs.first() {
        return Err(format!("the network reads `{missing}`, which nothing makes").into());
    }
    Ok(parsed.model.into_optimized()?.into_runnable()?)
}

/// Computes the one output from the one input.
pub(super) fn run<T: Datum + Copy>(
    plan: &Arc<Plan>,
    shape: &[usize],
    values: &[T],
) -> Result<Vec<f32>, Cause> {
    let input = Tensor::from_shape(shape, values)?;
    let outputs = plan.run(tvec![input.into()])?;
    let output = outputs.first().ok_or("the network gives nothing")?;
    Ok(output.to_plain_array_view::<f32>()?.iter().copied().collect())
}
